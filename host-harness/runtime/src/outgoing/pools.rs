//! The connections that sources share.
//!
//! Thousands of sources of one component talk to the same few origins, each for a moment in a minute.
//! Those that may reach the same origins in the same way use each other's connections: otherwise each
//! would open one for every poll, and keep it for nothing.

use std::collections::HashMap;
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

use super::connect::{self, Connector, GatedConnector};
use super::limits::ConcurrencyLimit;
use super::{CONNECTIONS_MAX, READ_BUFFER_BYTES_MAX};
use crate::allow_list::AllowList;

/// Below the 60 s after which common load balancers drop an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// How many connections to an origin stay open while sources that share them are idle: as many as
/// polls of one processor go on at once.
pub const IDLE_PER_ORIGIN_MAX: usize = 32;
/// A pool may have the connections of this many sources, 1,024, however many more share it.
const SOURCES_COUNTED_MAX: usize = 32;

/// The pools of one component. Its sources may share connections, since they run the same code. Clones are the same
/// pools.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pools {
    /// Those in use, by what their sources may reach.
    pools: Arc<Mutex<HashMap<AllowList, Vec<Weak<Pool>>>>>,
}

/// The connections of sources that may reach the same origins, through the same proxies and with
/// the same trust anchors.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) client: Client<Connector, UnsyncBoxBody<Bytes, HttpError>>,
    pub(super) allow: Arc<AllowList>,
    pub(super) proxies: Arc<Proxies>,
    anchors: Arc<ClientConfig>,
    connections: ConcurrencyLimit,
    sources: AtomicUsize,
}

impl Pools {
    /// The pool of a source, with the system's trust anchors and those of `ca_file`. A connection
    /// has to be made within `limit`.
    pub(super) fn get(
        &self,
        allow: AllowList,
        proxies: Proxies,
        ca_file: Option<&Path>,
        limit: Duration,
    ) -> Result<Arc<Pool>, String> {
        let anchors = trust_anchors::shared_client_config(ca_file)?;
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let alike = pools.entry(allow.clone()).or_default();
        alike.retain(|pool| pool.strong_count() > 0);
        let mut of_same_way = alike.iter().filter_map(Weak::upgrade);
        let found = of_same_way
            .find(|pool| *pool.proxies == proxies && Arc::ptr_eq(&pool.anchors, &anchors));
        if let Some(pool) = found {
            pool.add_source();
            return Ok(pool);
        }
        let pool = Arc::new(Pool::new(allow, proxies, anchors, limit));
        alike.push(Arc::downgrade(&pool));
        pools.retain(|_, alike| alike.iter().any(|pool| pool.strong_count() > 0));
        Ok(pool)
    }
}

impl Pool {
    fn new(
        allow: AllowList,
        proxies: Proxies,
        anchors: Arc<ClientConfig>,
        limit: Duration,
    ) -> Self {
        let (allow, proxies) = (Arc::new(allow), Arc::new(proxies));
        let connections = ConcurrencyLimit::new(CONNECTIONS_MAX);
        let gate = GatedConnector::new(Arc::clone(&allow), connections.clone(), limit);
        let connector = connect::with_tls(gate, Arc::clone(&proxies), Arc::clone(&anchors));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_ORIGIN_MAX)
            .http1_max_buf_size(READ_BUFFER_BYTES_MAX)
            .build(connector);
        Self {
            client,
            allow,
            proxies,
            anchors,
            connections,
            sources: AtomicUsize::new(1),
        }
    }

    fn add_source(&self) {
        if self.sources.fetch_add(1, Ordering::Relaxed) < SOURCES_COUNTED_MAX {
            self.connections.add(CONNECTIONS_MAX);
        }
    }
}
