//! Limits the memory of an instance and tracks its peak.

use wasmtime::ResourceLimiter;

/// Maximum size of a table; components have a few small ones.
const TABLE_ELEMENTS_MAX: usize = 100_000;

/// Limits the linear memories of a store and tracks their peak.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    bytes_max: usize,
    bytes: usize,
    bytes_peak: usize,
    refused: bool,
}

impl MemoryLimit {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            bytes_peak: 0,
            refused: false,
        }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(super) fn bytes_peak(&self) -> usize {
        self.bytes_peak
    }

    /// Returns whether the component exceeded its limit.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_sub(current).saturating_add(desired);
        if bytes > self.bytes_max {
            self.refused = true;
            return Ok(false);
        }
        self.bytes = bytes;
        self.bytes_peak = self.bytes_peak.max(bytes);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_of_an_instance_count_together() {
        let mut limit = MemoryLimit::new(300);
        assert!(limit.memory_growing(0, 100, None).unwrap());
        assert!(limit.memory_growing(0, 150, None).unwrap());
        assert!(!limit.memory_growing(100, 200, None).unwrap());
        assert!(limit.was_refused());
        assert_eq!(limit.bytes_peak(), 250);
        assert!(limit.memory_growing(100, 150, None).unwrap());
        assert_eq!(limit.bytes_peak(), 300);
    }
}
