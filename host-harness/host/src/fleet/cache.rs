//! Tenants that this host had before, with what saves work when they come again: connections, the
//! session of the last poll, and how often they have failed.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use source_runtime::source_loop::ResumableSourceLoop;

use super::lease::CurrentPermit;
use crate::registry::SourceEntry;

/// A tenant that is ready to be worked on.
pub(crate) struct PreparedTenant {
    /// The sequence number of its message in the stream.
    pub(crate) sequence: u64,
    /// Whether this host may work on it now. Its source holds this as its lease.
    pub(crate) permit: Arc<CurrentPermit>,
    /// Its loop, which is run in turns.
    pub(crate) source_loop: ResumableSourceLoop,
    pub(crate) entry: SourceEntry,
}

/// The tenants that this host worked on last.
pub(crate) struct TenantCache(LruCache<String, PreparedTenant>);

impl TenantCache {
    /// Creates a cache for at most `max` tenants.
    pub(crate) fn new(max: NonZeroUsize) -> Self {
        Self(LruCache::new(max))
    }

    /// Takes a tenant out.
    pub(crate) fn take(&mut self, tenant: &str) -> Option<PreparedTenant> {
        self.0.pop(tenant)
    }

    /// Puts a tenant back, unless one with a later message is there already. Returns the name of another
    /// tenant that was evicted for it.
    pub(crate) fn put(&mut self, tenant: String, cached: PreparedTenant) -> Option<String> {
        let existing = self.0.peek(&tenant);
        if existing.is_some_and(|existing| existing.sequence > cached.sequence) {
            return None;
        }
        // `push` also returns an earlier value of the tenant itself.
        let (evicted, _) = self.0.push(tenant.clone(), cached)?;
        (evicted != tenant).then_some(evicted)
    }
}
