use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::*;

const DEADLINE: Duration = Duration::from_secs(60);

async fn start_with_header_timeout(header_timeout: Duration) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings("listen = \"127.0.0.1:0\"", directory.path());
    let mut server = AdminServer::bind(&settings).await.unwrap();
    server.header_timeout = header_timeout;
    start_bound(server, directory)
}

#[tokio::test]
async fn connections_that_send_nothing_keep_no_others_out_for_long() {
    let running = start_with_header_timeout(Duration::from_millis(50)).await;
    let mut idle = Vec::new();
    // More than there is place for.
    for _ in 0..200 {
        idle.push(TcpStream::connect(running.address()).await.unwrap());
    }
    let mut slow = TcpStream::connect(running.address()).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: loc")
        .await
        .unwrap();
    let response = timeout(DEADLINE, get(running.address(), "/livez"))
        .await
        .unwrap();
    assert_eq!(response.status, 200);
    let mut rest = Vec::new();
    let closed = timeout(DEADLINE, slow.read_to_end(&mut rest))
        .await
        .unwrap();
    // With a response or without, but not with that of the request.
    assert!(
        closed.is_err() || !rest.starts_with(b"HTTP/1.1 200"),
        "{rest:?}"
    );
}

#[tokio::test]
async fn a_header_without_end_is_refused() {
    let running = start().await;
    let long = "x".repeat(100_000);
    let response = request(running.address(), "GET", "/livez", &[("x-long", &long)], "").await;
    assert_eq!(response.status, 431);
}

#[tokio::test]
async fn the_server_ends_while_clients_keep_connections_open() {
    let running = start().await;
    let address = running.address();
    let mut idle = TcpStream::connect(address).await.unwrap();
    let text = format!("GET /livez HTTP/1.1\r\nhost: {address}\r\n\r\n");
    idle.write_all(text.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    idle.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let mut unfinished = TcpStream::connect(address).await.unwrap();
    unfinished.write_all(b"GET /livez HT").await.unwrap();
    timeout(DEADLINE, running.server.stop()).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, idle.read_to_end(&mut rest))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_ends_the_start_with_advice() {
    let running = start().await;
    let lines = format!("listen = \"{}\"", running.address());
    let settings = settings(&lines, running.state_dir.path());
    let failure = AdminServer::bind(&settings).await.unwrap_err();
    assert!(
        failure
            .message
            .starts_with(&format!("[admin] listen = \"{}\"", running.address()))
    );
    assert!(failure.message.contains("choose another one"), "{failure}");
    assert_eq!(failure.exit.code(), 1);
}

#[tokio::test]
async fn a_certificate_is_presented_and_read_again_when_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let key = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(directory.path().join("cert.pem"), key.cert.pem()).unwrap();
        std::fs::write(
            directory.path().join("key.pem"),
            key.signing_key.serialize_pem(),
        )
        .unwrap();
        let pem = key.cert.pem();
        rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    };
    let first = write("first.test");
    let lines = "listen = \"127.0.0.1:0\"\nhosts = [\"first.test\"]\n\
                 tls = { cert_file = \"cert.pem\", key_file = \"key.pem\" }";
    let server = AdminServer::bind(&settings(lines, directory.path()))
        .await
        .unwrap();
    let state_dir = tempfile::tempdir().unwrap();
    let running = start_bound(server, state_dir);
    let address = running.address();
    let connect = |certificate, name: &'static str| async move {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address).await.unwrap();
        connector
            .connect(ServerName::try_from(name).unwrap(), stream)
            .await
    };
    let stream = connect(first.clone(), "first.test").await.unwrap();
    let response = exchange(
        stream,
        address,
        "GET",
        "/api/v1/status",
        &[("host", "first.test")],
        "",
    );
    assert_eq!(response.await.status, 200);

    // The time stamp of a file may be as coarse as a clock tick.
    let second = write("second.test");
    let later = SystemTime::now() + Duration::from_secs(5);
    for name in ["cert.pem", "key.pem"] {
        let file = std::fs::File::options()
            .write(true)
            .open(directory.path().join(name))
            .unwrap();
        file.set_modified(later).unwrap();
    }
    assert!(connect(first, "first.test").await.is_err());
    connect(second.clone(), "second.test").await.unwrap();
    // Half of a renewal changes nothing.
    std::fs::write(directory.path().join("key.pem"), "").unwrap();
    let third = write("third.test");
    std::fs::write(directory.path().join("key.pem"), "").unwrap();
    assert!(connect(third, "third.test").await.is_err());
    connect(second, "second.test").await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_ends_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let lines = "listen = \"127.0.0.1:0\"\ntls = { cert_file = \"c.pem\", key_file = \"k.pem\" }";
    let settings = settings(lines, directory.path());
    let failure = AdminServer::bind(&settings).await.unwrap_err();
    assert!(failure.message.contains("c.pem"), "{failure}");
    assert_eq!(failure.exit.code(), 78);
}
