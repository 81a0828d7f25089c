//! Tenants that this host had before, with what saves work when they come again: connections, the
//! session of the last poll, and how often they have failed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use source_runtime::source_loop::SourceTurns;

use super::lease::Deadline;
use crate::registry::SourceEntry;

/// A tenant that is ready to be worked on.
pub(crate) struct CachedTenant {
    /// The place of the message that it was made of.
    pub(crate) sequence: u64,
    /// What it needs to work.
    pub(crate) deadline: Arc<Deadline>,
    pub(crate) turns: SourceTurns,
    pub(crate) entry: SourceEntry,
}

/// The tenants that were here last.
pub(crate) struct TenantCache {
    tenants: HashMap<String, (u64, CachedTenant)>,
    /// Their names, the one that was here longest ago first.
    order: BTreeMap<u64, String>,
    used: u64,
    max: usize,
}

impl TenantCache {
    /// Holds so many.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            tenants: HashMap::new(),
            order: BTreeMap::new(),
            used: 0,
            max,
        }
    }

    /// Takes a tenant out.
    pub(crate) fn take(&mut self, tenant: &str) -> Option<CachedTenant> {
        let (used, cached) = self.tenants.remove(tenant)?;
        self.order.remove(&used);
        Some(cached)
    }

    /// Puts a tenant back. Returns the name of one that has to go for it.
    pub(crate) fn put(&mut self, tenant: String, cached: CachedTenant) -> Option<String> {
        if let Some((used, newer)) = self.tenants.get(&tenant) {
            if newer.sequence > cached.sequence {
                return None;
            }
            let used = *used;
            self.order.remove(&used);
        }
        self.used = self.used.saturating_add(1);
        self.order.insert(self.used, tenant.clone());
        self.tenants.insert(tenant, (self.used, cached));
        if self.tenants.len() <= self.max {
            return None;
        }
        let (_, oldest) = self.order.pop_first()?;
        self.tenants.remove(&oldest);
        Some(oldest)
    }
}
