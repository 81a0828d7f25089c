//! A server that records every byte it receives.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Returns the response to a request with this head.
type RequestHandler = dyn Fn(&str) -> Vec<u8> + Send + Sync;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
        };
        let received = Arc::clone(&server.received);
        let handler: Arc<RequestHandler> = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (received, handler) = (Arc::clone(&received), Arc::clone(&handler));
                std::thread::spawn(move || serve(&stream.unwrap(), &received, &*handler));
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn received(&self) -> Vec<u8> {
        self.received.lock().unwrap().clone()
    }
}

/// A response with this body, whatever it is; its content type is JSON.
pub(crate) fn response(status: u16, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} S\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// The value of a header of a request.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .next()
}

fn serve(stream: &TcpStream, received: &Mutex<Vec<u8>>, handler: &RequestHandler) {
    let mut reader = Recording(BufReader::new(stream), received);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.line() {
                Some(line) => head.push_str(&line),
                None => return,
            }
        }
        if header(&head, "transfer-encoding").is_some() {
            while let Some(size) = reader.line() {
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                reader.read_body(size + 2);
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = header(&head, "content-length") {
            reader.read_body(length.parse().unwrap());
        }
        let mut stream = stream;
        if stream.write_all(&handler(&head)).is_err() {
            return;
        }
    }
}

/// A reader that records all bytes before they are parsed.
struct Recording<'a>(BufReader<&'a TcpStream>, &'a Mutex<Vec<u8>>);

impl Recording<'_> {
    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let read = self.0.read_until(b'\n', &mut line).ok();
        self.1.lock().unwrap().extend(&line);
        read.filter(|bytes| *bytes > 0)?;
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    fn read_body(&mut self, count: usize) {
        // What came before the connection ended counts too.
        let mut bytes = Vec::new();
        let limit = u64::try_from(count).unwrap();
        drop(self.0.by_ref().take(limit).read_to_end(&mut bytes));
        self.1.lock().unwrap().extend(&bytes);
    }
}
