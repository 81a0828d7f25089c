//! Tenants that this host had before, with what saves work when they come again: connections, the
//! session of the last poll, and how often they have failed.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
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
pub(crate) struct TenantCache(LruCache<String, CachedTenant>);

impl TenantCache {
    /// Creates a cache for so many tenants.
    pub(crate) fn new(max: NonZeroUsize) -> Self {
        Self(LruCache::new(max))
    }

    /// Takes a tenant out.
    pub(crate) fn take(&mut self, tenant: &str) -> Option<CachedTenant> {
        self.0.pop(tenant)
    }

    /// Puts a tenant back. Returns the name of one that has to go for it.
    pub(crate) fn put(&mut self, tenant: String, cached: CachedTenant) -> Option<String> {
        let newer = self.0.peek(&tenant);
        if newer.is_some_and(|newer| newer.sequence > cached.sequence) {
            return None;
        }
        // What is returned may also be what the tenant itself had before.
        let (removed, _) = self.0.push(tenant.clone(), cached)?;
        (removed != tenant).then_some(removed)
    }
}
