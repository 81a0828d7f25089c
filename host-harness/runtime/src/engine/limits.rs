//! Limits the memory of an instance and tracks its peak.

use wasmtime::ResourceLimiter;

/// Maximum number of linear memories of a component; most have one. Each reserves 4 GiB of address
/// space, or less where that is limited; see `limit_reservation`.
const MEMORIES_MAX: usize = 16;
/// Maximum number of tables; a component has one or two for each module that it is composed of.
const TABLES_MAX: usize = 32;
/// Maximum number of instances of modules. A component of an interpreted language has one for each
/// library of its runtime.
const INSTANCES_MAX: usize = 1_000;
/// Maximum size of a table.
const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Size of an element of a table.
const ELEMENT_BYTES: usize = 8;

/// Limits the linear memories and tables of a store and tracks the peak of both together.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    bytes_max: usize,
    bytes: usize,
    bytes_peak: usize,
    exceeded: bool,
}

impl MemoryLimit {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            bytes_peak: 0,
            exceeded: false,
        }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(super) fn bytes_peak(&self) -> usize {
        self.bytes_peak
    }

    /// Returns whether the component exceeded its limit.
    pub(super) fn was_exceeded(&self) -> bool {
        self.exceeded
    }

    /// Counts the growth of a memory or table, and returns whether there is room for it.
    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let bytes = self.bytes.saturating_sub(current).saturating_add(desired);
        if bytes > self.bytes_max {
            self.exceeded = true;
            return false;
        }
        self.bytes = bytes;
        self.bytes_peak = self.bytes_peak.max(bytes);
        true
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = |elements: usize| elements.saturating_mul(ELEMENT_BYTES);
        Ok(desired <= TABLE_ELEMENTS_MAX && self.grow(bytes(current), bytes(desired)))
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;

    #[test]
    fn all_memories_of_an_instance_count_together() {
        let mut limit = MemoryLimit::new(300);
        assert!(limit.memory_growing(0, 100, None).unwrap());
        assert!(limit.memory_growing(0, 150, None).unwrap());
        assert!(!limit.memory_growing(100, 200, None).unwrap());
        assert!(limit.was_exceeded());
        assert_eq!(limit.bytes_peak(), 250);
        assert!(limit.memory_growing(100, 150, None).unwrap());
        assert_eq!(limit.bytes_peak(), 300);
    }

    #[test]
    fn tables_count_as_memory() {
        let mut limit = MemoryLimit::new(300);
        assert!(limit.memory_growing(0, 100, None).unwrap());
        assert!(limit.table_growing(0, 15, None).unwrap());
        assert!(!limit.table_growing(0, 15, None).unwrap());
        assert!(limit.was_exceeded());
        assert!(limit.table_growing(15, 25, None).unwrap());
        assert_eq!(limit.bytes_peak(), 300);
    }

    /// A module with one section, of `count` equal entries.
    fn module(section: u8, entry: &[u8], count: u8) -> Vec<u8> {
        let entries = entry.repeat(usize::from(count));
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend([section, u8::try_from(entries.len() + 1).unwrap(), count]);
        module.extend(entries);
        module
    }

    #[test]
    fn empty_memories_and_tables_are_limited_in_number() {
        let engine = Engine::default();
        // Without a page, and without an element of type funcref.
        let memory: &[u8] = &[0, 0];
        let table: &[u8] = &[0x70, 0, 0];
        for (section, entry, max) in [(5, memory, MEMORIES_MAX), (4, table, TABLES_MAX)] {
            let max = u8::try_from(max).unwrap();
            for (count, is_allowed) in [(max, true), (max + 1, false)] {
                let module = Module::new(&engine, module(section, entry, count)).unwrap();
                let mut store = Store::new(&engine, MemoryLimit::new(1024));
                store.limiter(|limit| limit);
                let instance = Instance::new(&mut store, &module, &[]);
                assert_eq!(instance.is_ok(), is_allowed, "{count} of section {section}");
            }
        }
    }
}
