//! Where objects and lists begin and end in JSON that has not all arrived.

/// Where the scanner stands in an element or a line.
#[derive(Clone, Copy, Default)]
pub(super) struct Scan {
    pub(super) at: usize,
    pub(super) depth: usize,
    pub(super) quoted: bool,
    pub(super) escaped: bool,
    /// The record was returned as too long, and its rest is passed over.
    pub(super) passing_over: bool,
}

impl Scan {
    /// Takes one byte of JSON.
    pub(super) const fn step(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            b'{' | b'[' if !self.quoted => self.depth = self.depth.saturating_add(1),
            b'}' | b']' if !self.quoted => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// Where the list `data` of an object begins.
pub(super) enum List {
    At(usize),
    More,
    None,
}

/// Finds the list `data` among the members of the object that the text begins with.
pub(super) fn list_at(text: &[u8]) -> List {
    let mut scan = Scan::default();
    let mut key = 0..0;
    let mut key_start = 0;
    let mut is_data = false;
    for (at, byte) in text.iter().enumerate() {
        let was = scan;
        scan.step(*byte);
        if scan.depth == 0 {
            return List::None;
        }
        match byte {
            b'"' if was.depth == 1 && !was.quoted => key_start = at.saturating_add(1),
            b'"' if was.depth == 1 && !was.escaped => key = key_start..at,
            b':' if was.depth == 1 && !was.quoted => {
                is_data = text.get(key.clone()) == Some(b"data");
            }
            b'[' if was.depth == 1 && !was.quoted && is_data => {
                return List::At(at.saturating_add(1));
            }
            b',' if was.depth == 1 && !was.quoted => is_data = false,
            _ => {}
        }
    }
    List::More
}
