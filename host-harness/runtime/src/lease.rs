//! The right to work on a source, for hosts that share sources with others.

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;

/// Reports whether this process may work on a source. A source without a lease belongs to its process.
#[async_trait]
pub trait Lease: fmt::Debug + Send + Sync {
    /// Returns whether this process may work on the source now. Checked before each outgoing request, and
    /// while a poll or a delivery runs. It is not checked before a checkpoint: the `CheckpointStore` has to
    /// refuse one of a lost lease.
    fn permits_work(&self) -> bool;

    /// Waits until this process may no longer work on the source.
    async fn revoked(&self);
}

/// The lease of one source, where it needs one. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceLease(Arc<OnceLock<Arc<dyn Lease>>>);

impl SourceLease {
    /// Sets the lease, without which the source does nothing from now on. Later calls are ignored.
    pub(crate) fn set(&self, lease: Arc<dyn Lease>) {
        let _ = self.0.set(lease);
    }

    /// Returns the lease, where one is needed.
    pub(crate) fn get(&self) -> Option<Arc<dyn Lease>> {
        self.0.get().cloned()
    }

    pub(crate) fn permits_work(&self) -> bool {
        self.0.get().is_none_or(|lease| lease.permits_work())
    }

    /// Waits until the lease is not held; never returns where none is needed.
    pub(crate) async fn revoked(&self) {
        match self.0.get() {
            Some(lease) if lease.permits_work() => lease.revoked().await,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::watch;

    #[derive(Debug)]
    struct TestLease(watch::Sender<bool>);

    #[async_trait]
    impl Lease for TestLease {
        fn permits_work(&self) -> bool {
            *self.0.borrow()
        }

        async fn revoked(&self) {
            let mut held = self.0.subscribe();
            let _ = held.wait_for(|held| !held).await;
        }
    }

    #[tokio::test]
    async fn a_source_that_needs_no_lease_may_always_poll_and_one_that_does_only_while_it_is_held()
    {
        let lease = SourceLease::default();
        assert!(lease.permits_work());
        let test_lease = Arc::new(TestLease(watch::Sender::new(true)));
        lease.clone().set(test_lease.clone());
        assert!(lease.permits_work());
        let waiting = tokio::spawn({
            let lease = lease.clone();
            async move { lease.revoked().await }
        });
        test_lease.0.send_replace(false);
        waiting.await.unwrap();
        assert!(!lease.permits_work());
        lease.revoked().await;
    }
}
