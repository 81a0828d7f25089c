//! An HTTP proxy on loopback. It connects every name to loopback, as a real proxy resolves names that
//! only its network knows.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A proxy and what it was asked.
pub(crate) struct HttpProxy {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

/// What it does with a request.
#[derive(Clone, Copy)]
pub(crate) enum Behaviour {
    Serve,
    /// Serves those with this `Proxy-Authorization`.
    ServeWith(&'static str),
    /// Answers this and closes.
    Respond(&'static str),
    /// Leads to the target, passes on this many bytes of its response, and closes.
    Cut(u64),
}

impl HttpProxy {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            heads: Arc::default(),
        };
        let heads = Arc::clone(&proxy.heads);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, behaviour, Arc::clone(&heads)));
            }
        });
        proxy
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(mut client: TcpStream, behaviour: Behaviour, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let text = String::from_utf8(head).unwrap();
    heads.lock().unwrap().push(text.clone());
    let response = match behaviour {
        Behaviour::Respond(response) => Some(response),
        Behaviour::ServeWith(login) => {
            let line = format!("proxy-authorization: {login}\r\n");
            (!text
                .to_ascii_lowercase()
                .contains(&line.to_ascii_lowercase()))
            .then_some(
                "HTTP/1.1 407 Proxy Authentication Required\r\n\
                 Proxy-Authenticate: Basic realm=\"closed\"\r\nContent-Length: 0\r\n\r\n",
            )
        }
        Behaviour::Serve | Behaviour::Cut(_) => None,
    };
    if let Some(response) = response {
        let _ = client.write_all(response.as_bytes()).await;
        return;
    }
    let mut words = text.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let authority = match target.strip_prefix("http://") {
        Some(rest) => rest.split('/').next().unwrap(),
        None => target,
    };
    let (_, port) = authority.rsplit_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    if method == "CONNECT" {
        client
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            .await
            .unwrap();
    } else {
        server.write_all(text.as_bytes()).await.unwrap();
    }
    if let Behaviour::Cut(bytes) = behaviour {
        let (mut from_client, mut to_client) = client.split();
        let (from_server, mut to_server) = server.split();
        let mut limited = from_server.take(bytes);
        tokio::select! {
            _ = tokio::io::copy(&mut limited, &mut to_client) => {}
            _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        }
        return;
    }
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
