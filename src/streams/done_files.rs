//! The files that were read to their end, as a checkpoint stores them.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The identity of a file: 64 bits of a hash.
pub type FileKey = [u8; 8];

/// Returns the key of a file by its name.
#[must_use]
pub fn key(name: &str) -> FileKey {
    let hash = blake3::hash(name.as_bytes());
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The files that were done last, as many as are remembered.
#[derive(Clone, Debug)]
pub struct DoneFiles {
    keys: VecDeque<FileKey>,
    capacity: usize,
}

impl DoneFiles {
    /// Parses the output of [`DoneFiles::to_text`]; any other text holds no file.
    #[must_use]
    pub fn from_text(text: &str, capacity: usize) -> Self {
        let bytes = STANDARD_NO_PAD.decode(text).unwrap_or_default();
        let keys = bytes
            .chunks_exact(size_of::<FileKey>())
            .filter_map(|key| FileKey::try_from(key).ok())
            .collect();
        Self { keys, capacity }
    }

    /// Returns the text for a checkpoint: base64 of the keys, one after the other.
    #[must_use]
    pub fn to_text(&self) -> String {
        let bytes: Vec<u8> = self.keys.iter().flatten().copied().collect();
        STANDARD_NO_PAD.encode(bytes)
    }

    /// Returns whether the file is remembered.
    #[must_use]
    pub fn contains(&self, key: &FileKey) -> bool {
        self.keys.contains(key)
    }

    /// Returns the files that are remembered.
    pub fn iter(&self) -> impl Iterator<Item = FileKey> {
        self.keys.iter().copied()
    }

    /// Remembers one more file, and forgets the oldest where there are too many.
    pub fn push(&mut self, key: FileKey) {
        self.keys.push_back(key);
        while self.keys.len() > self.capacity {
            self.keys.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_was_stored_is_read_and_written_as_it_was() {
        let text = "bvxwVK28Ropwa6ATw1lK+A";
        let mut files = DoneFiles::from_text("", 9);
        files.push(key("/receipt/1"));
        files.push(key("/receipt/2"));
        assert_eq!(files.to_text(), text);
        let read = DoneFiles::from_text(text, 9);
        assert!(read.iter().eq(files.iter()));
    }
}
