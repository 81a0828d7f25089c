//! The upstream of a benchmark in a process of its own, so that its cost is not that of the host: the
//! benchmark starts another copy of itself.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use tokio::net::TcpListener;

use crate::mock_upstream;

/// The argument by which this program becomes the upstream of another copy of itself.
const SERVE: &str = "serve";

/// Returns whether this process is the upstream.
pub(crate) fn is_upstream() -> bool {
    std::env::args().nth(1).is_some_and(|first| first == SERVE)
}

/// Serves until standard input ends. Prints its address first, and a report for each line that it reads.
#[expect(
    clippy::print_stdout,
    reason = "the other copy of this program reads it"
)]
pub(crate) fn serve<Respond, ResponseFuture>(respond: Respond, mut report: impl FnMut() -> String)
where
    Respond: Fn(Request<Bytes>) -> ResponseFuture + Clone + Send + Sync + 'static,
    ResponseFuture: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    println!("{}", listener.local_addr().unwrap());
    runtime.spawn(mock_upstream::serve(listener, respond));
    for _ in std::io::stdin().lock().lines() {
        println!("{}", report());
    }
}

/// The upstream, seen from the benchmark. It ends when this is dropped.
pub(crate) struct UpstreamProcess {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub(crate) url: String,
}

impl UpstreamProcess {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(SERVE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut address = String::new();
        stdout.read_line(&mut address).unwrap();
        Self {
            child,
            stdin,
            stdout,
            url: format!("http://{}", address.trim()),
        }
    }

    /// Returns what it reports.
    pub(crate) fn report(&mut self) -> String {
        self.stdin.write_all(b"\n").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for UpstreamProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
