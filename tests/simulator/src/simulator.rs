//! The public interface of the simulator.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::config::{Config, Generate};
use crate::counters::Requests;
use crate::event_type::EventType;
use crate::fault::Fault;
use crate::ledger::Ledger;
use crate::permissions::StreamRefusal;
use crate::server::{Origin, serve};
use crate::tenant_state::TenantState;

/// A running simulator. It has threads of its own and stops when it is dropped.
#[derive(Debug)]
pub struct Simulator {
    state: Arc<TenantState>,
    api_url: String,
    storage_url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Starts a simulator on two ports of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When no port or no thread is available.
    pub async fn start(config: Config) -> io::Result<Self> {
        let (api, api_url) = listen(config.api_port)?;
        let (storage, storage_url) = listen(config.storage_port)?;
        let generate = config.generate;
        let state = Arc::new(TenantState::new(config, storage_url.clone()));
        let (stop, stopped) = oneshot::channel();
        let (ready_sender, ready) = oneshot::channel();
        let served = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("mimecast-simulator".to_owned());
        let thread = thread.spawn(move || {
            if generate == Generate::AtStart {
                generate_all(&served);
            }
            run(&served, (api, storage), ready_sender, stopped);
        })?;
        let simulator = Self {
            state,
            api_url,
            storage_url,
            stop: Some(stop),
            thread: Some(thread),
        };
        ready.await.map_err(io::Error::other)??;
        if generate == Generate::InBackground {
            let state = Arc::clone(&simulator.state);
            std::thread::Builder::new().spawn(move || generate_all(&state))?;
        }
        Ok(simulator)
    }

    /// Returns the base URL of the API.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.api_url.clone()
    }

    /// Returns the origin that links to files have.
    #[must_use]
    pub fn storage_url(&self) -> String {
        self.storage_url.clone()
    }

    /// Returns the client id of the application.
    #[must_use]
    pub fn client_id(&self) -> String {
        self.state.auth().client_id.clone()
    }

    /// Returns the client secret of the application.
    #[must_use]
    pub fn client_secret(&self) -> String {
        self.state.auth().client_secret.clone()
    }

    /// Returns what exists now and what was served. Generates every file that was not generated yet.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        generate_all(&self.state);
        self.state.ledger()
    }

    /// Returns the requests so far.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.state.counters.snapshot()
    }

    /// Scripts a fault, which applies from now on. Of several faults that apply to the same request
    /// the first one takes effect.
    pub fn script(&self, fault: Fault) {
        self.state.faults().script(fault);
    }

    /// Returns to how many requests each fault was applied since the faults were last ended, in the
    /// order of scripting.
    #[must_use]
    pub fn fault_counts(&self) -> Vec<u64> {
        self.state.faults().counts()
    }

    /// Ends every scripted fault.
    pub fn clear_faults(&self) {
        self.state.faults().clear();
    }

    /// Appends files to a list, with records of the last quarter of an hour.
    pub fn add_files(&self, event_type: EventType, files: u32) {
        self.state.add_files(event_type, files);
    }

    /// Deletes one of the files that were never sent, the one at `index` modulo their number, and returns
    /// its path; its page still lists it.
    #[must_use]
    pub fn delete_file(&self, index: usize) -> Option<String> {
        self.state.delete_file(index)
    }

    /// Adds audit events of that time, in milliseconds since the epoch, which may be long past.
    pub fn add_audit(&self, count: u32, at_ms: i64) {
        self.state.add_records("audit", count, at_ms);
    }

    /// Adds records of that time to another POST log or list, as in `ttp.url`.
    pub fn add_records(&self, stream: &str, count: u32, at_ms: i64) {
        self.state.add_records(stream, count, at_ms);
    }

    /// Removes items from a list, as when held messages are released.
    pub fn remove_newest(&self, stream: &str, count: usize) {
        self.state.remove_newest(stream, count);
    }

    /// Changes `count` rows of a list, as those of the awareness training change.
    pub fn change_rows(&self, stream: &str, count: usize) {
        self.state.change_rows(stream, count);
    }

    /// Grants or revokes the permission to read a stream; `audit.categories` counts as one here.
    pub fn set_permitted(&self, stream: &str, is_permitted: bool) {
        let refusal = (!is_permitted).then_some(self.state.config.refusal);
        self.state.set_refusal(stream, refusal);
    }

    /// Refuses a stream in that way.
    pub fn refuse(&self, stream: &str, refusal: StreamRefusal) {
        self.state.set_refusal(stream, Some(refusal));
    }

    /// Returns the upstream's time, skew included.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.state.clock.now_ms()
    }

    /// Moves the upstream's clock: tokens, links and quota windows end as if time had passed.
    pub fn advance_ms(&self, ms: i64) {
        self.state.clock.advance(ms);
    }

    /// Expires every access token that was granted so far.
    pub fn expire_tokens(&self) {
        self.state.auth().expire_all();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has stopped as well.
            let _ = thread.join();
        }
    }
}

fn listen(port: u16) -> io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

/// Serves both origins until the simulator is dropped.
fn run(
    state: &Arc<TenantState>,
    (api, storage): (TcpListener, TcpListener),
    ready: oneshot::Sender<io::Result<()>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nobody receives it if the start was cancelled.
            let _ = ready.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        let listeners = tokio::net::TcpListener::from_std(api)
            .and_then(|api| Ok((api, tokio::net::TcpListener::from_std(storage)?)));
        match listeners {
            Ok((api, storage)) => {
                let _ = ready.send(Ok(()));
                tokio::spawn(serve(Arc::clone(state), Origin::Api, api));
                tokio::spawn(serve(Arc::clone(state), Origin::Storage, storage));
                // Ends when the sender is dropped.
                let _ = stopped.await;
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    });
    runtime.shutdown_background();
}

/// Generates every file that was not generated yet, on as many threads as there are processors.
fn generate_all(state: &TenantState) {
    let files = state.files();
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !state.stopped.load(Ordering::SeqCst) {
                    let Some(file) = files.get(next.fetch_add(1, Ordering::SeqCst)) else {
                        break;
                    };
                    file.content();
                }
            });
        }
    });
}
