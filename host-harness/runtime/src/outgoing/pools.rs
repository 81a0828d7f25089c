//! Pools of connections that sources share.
//!
//! Thousands of sources of one component connect to the same few origins, each for a moment in a
//! minute. Those that may reach the same origins in the same way share connections: otherwise each
//! would open one for every poll, and keep it idle.

use std::collections::HashMap;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use source_common::proxy::Proxies;
use source_common::trust_anchors;
use wasmtime_wasi_http::Error as HttpError;

use super::connect::{Connector, GatedConnector};
use super::limits::ConcurrencyLimit;
use super::{CONNECTIONS_PER_SOURCE, READ_BUFFER_BYTES_MAX};
use crate::allow_list::AllowList;

/// How long an idle connection is kept: below the 60 s after which common load balancers drop it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// How many connections to an origin stay open while sources that share them are idle: as many as
/// one processor has poll slots.
pub const IDLE_CONNECTIONS_PER_ORIGIN_MAX: usize = 32;
/// A pool's connection limit is the sum of its sources' limits, for at most this many sources: 1,024
/// connections.
const SOURCES_COUNTED_MAX: usize = 32;

/// The pools of one component. Its sources may share connections, since they run the same code.
/// Clones share the pools.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionPools {
    /// The pools in use, by what their sources may reach.
    pools: Arc<Mutex<HashMap<AllowList, Vec<Weak<ConnectionPool>>>>>,
}

/// The connections of sources that may reach the same origins, through the same proxies and with
/// the same trust anchors.
#[derive(Debug)]
pub(super) struct ConnectionPool {
    pub(super) client: Client<Connector, UnsyncBoxBody<Bytes, HttpError>>,
    pub(super) allow: Arc<AllowList>,
    pub(super) proxies: Arc<Proxies>,
    /// Has the trust anchors. Sources with the same ones share one configuration.
    tls_config: Arc<ClientConfig>,
    connections: ConcurrencyLimit,
    sources: AtomicUsize,
}

/// The share of a source in a pool, whose connection limit it raises until it is dropped.
#[derive(Debug)]
pub(super) struct PoolMembership(Arc<ConnectionPool>);

impl ConnectionPools {
    /// Adds a source to the pool for it, with the system's trust anchors and those of `ca_file`. A
    /// connection has to be made within `connect_timeout`.
    pub(super) fn join(
        &self,
        allow: AllowList,
        proxies: Proxies,
        ca_file: Option<&Path>,
        connect_timeout: Duration,
    ) -> Result<PoolMembership, String> {
        let tls_config = trust_anchors::shared_client_config(ca_file)?;
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pools_of_list = pools.entry(allow.clone()).or_default();
        pools_of_list.retain(|pool| pool.strong_count() > 0);
        let mut live_pools = pools_of_list.iter().filter_map(Weak::upgrade);
        let found = live_pools
            .find(|pool| *pool.proxies == proxies && Arc::ptr_eq(&pool.tls_config, &tls_config));
        if let Some(pool) = found {
            pool.add_source();
            return Ok(PoolMembership(pool));
        }
        let pool = Arc::new(ConnectionPool::new(
            allow,
            proxies,
            tls_config,
            connect_timeout,
        ));
        pools_of_list.push(Arc::downgrade(&pool));
        pools.retain(|_, pools_of_list| pools_of_list.iter().any(|pool| pool.strong_count() > 0));
        Ok(PoolMembership(pool))
    }
}

impl ConnectionPool {
    fn new(
        allow: AllowList,
        proxies: Proxies,
        tls_config: Arc<ClientConfig>,
        connect_timeout: Duration,
    ) -> Self {
        let (allow, proxies) = (Arc::new(allow), Arc::new(proxies));
        let connections = ConcurrencyLimit::new(CONNECTIONS_PER_SOURCE);
        let tcp_connector =
            GatedConnector::new(Arc::clone(&allow), connections.clone(), connect_timeout);
        let connector =
            Connector::new(tcp_connector, Arc::clone(&proxies), Arc::clone(&tls_config));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_ORIGIN_MAX)
            .http1_max_buf_size(READ_BUFFER_BYTES_MAX)
            .build(connector);
        Self {
            client,
            allow,
            proxies,
            tls_config,
            connections,
            sources: AtomicUsize::new(1),
        }
    }

    fn add_source(&self) {
        if self.sources.fetch_add(1, Ordering::Relaxed) < SOURCES_COUNTED_MAX {
            self.connections.add_permits(CONNECTIONS_PER_SOURCE);
        }
    }

    fn remove_source(&self) {
        if self.sources.fetch_sub(1, Ordering::Relaxed) <= SOURCES_COUNTED_MAX {
            self.connections.remove_permits(CONNECTIONS_PER_SOURCE);
        }
    }

    /// Returns the number of connections that may still be opened.
    #[cfg(test)]
    pub(super) fn available_connections(&self) -> usize {
        self.connections.available_permits()
    }
}

impl Deref for PoolMembership {
    type Target = ConnectionPool;

    fn deref(&self) -> &ConnectionPool {
        &self.0
    }
}

impl Drop for PoolMembership {
    fn drop(&mut self) {
        self.0.remove_source();
    }
}
