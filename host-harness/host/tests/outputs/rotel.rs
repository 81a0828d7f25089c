//! `otlp` against rotel, a collector from PyPI, which hands on what it got to
//! a receiver of these tests. `ROTEL` names the program, else `rotel-agent` is
//! looked for; without either the test says so and ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

use crate::http_receiver::HttpReceiver;
use crate::test_delivery::{DEADLINE, TestDelivery, deliver, open, report_skipped_test};

struct Rotel(Child);

impl Drop for Rotel {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn program() -> Option<PathBuf> {
    let named = std::env::var_os("ROTEL").map(PathBuf::from);
    if let Some(path) = &named {
        assert!(
            path.exists(),
            "ROTEL names {}, which is not there",
            path.display()
        );
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    named
        .into_iter()
        .chain(std::env::split_paths(&path).map(|directory| directory.join("rotel-agent")))
        .find(|path| path.exists())
}

fn start(program: &Path, port: u16, grpc_port: u16, receiver: &HttpReceiver) -> Rotel {
    let child = Command::new(program)
        .args([
            "start",
            "--exporter",
            "otlp",
            "--otlp-exporter-protocol",
            "http",
        ])
        .args([
            "--otlp-exporter-endpoint",
            &format!("http://{}", receiver.address),
        ])
        .args(["--otlp-http-endpoint", &format!("127.0.0.1:{port}")])
        .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc_port}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Rotel(child)
}

/// A collector that listens, and where. It cannot be asked to choose a port,
/// so one that another process was faster to take is given up for the next.
async fn start_listening(program: &Path, receiver: &HttpReceiver) -> (Rotel, u16) {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        let (port, grpc_port) = (free_port().await, free_port().await);
        let mut rotel = start(program, port, grpc_port, receiver);
        while rotel.0.try_wait().unwrap().is_none() {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return (rotel, port);
            }
            assert!(begun.elapsed() < DEADLINE, "rotel does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    panic!("rotel does not start");
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_collector_takes_every_event_and_hands_it_on() {
    let Some(program) = program() else {
        return report_skipped_test("rotel is not installed and ROTEL is not set");
    };
    let receiver = HttpReceiver::start().await;
    let (_rotel, port) = start_listening(&program, &receiver).await;
    let settings =
        format!("type = \"otlp\"\nendpoint = \"http://127.0.0.1:{port}\"\ncompression = \"gzip\"");
    let mut output = open(&settings).await;
    for batch in 0..5 {
        deliver(
            &mut *output,
            &TestDelivery::new(batch * 100..(batch + 1) * 100),
        )
        .await;
    }
    receiver.state.wait_for_events(500).await;
    let expected: Vec<usize> = (0..500).collect();
    let mut numbers = receiver.state.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, expected);
}
