//! A way from one host to NATS that can be cut without a sign to either side.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards bytes in both directions, or in none. What is sent while it is cut is lost.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    cut: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, is_cut) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let is_cut = is_cut.clone();
                tokio::spawn(async move {
                    wait_until_connected(&is_cut).await;
                    let address = SocketAddr::from(([127, 0, 0, 1], to));
                    let Ok(server) = TcpStream::connect(address).await else {
                        return;
                    };
                    let (from_host, to_host) = stream.into_split();
                    let (from_server, to_server) = server.into_split();
                    let up = tokio::spawn(forward(from_host, to_server, is_cut.clone()));
                    forward(from_server, to_host, is_cut).await;
                    up.abort();
                });
            }
        });
        Self { port, cut }
    }

    pub(crate) fn cut(&self, is_cut: bool) {
        self.cut.send_replace(is_cut);
    }
}

/// Waits until the way is not cut.
async fn wait_until_connected(is_cut: &watch::Receiver<bool>) {
    let mut is_cut = is_cut.clone();
    drop(is_cut.wait_for(|is_cut| !is_cut).await);
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, is_cut: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else {
            return;
        };
        if *is_cut.borrow() {
            return wait_until_connected(&is_cut).await;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
