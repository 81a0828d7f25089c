//! HTTP outputs through a proxy.

use tokio::net::TcpListener;

use crate::http_proxy::{Behaviour, HttpProxy};
use crate::http_receiver::HttpReceiver;
use crate::test_delivery::{TestDelivery, accept, open, refusal};
use crate::tls::{tls_proxy, write_certificates};
use source_outputs::OutputError;

#[tokio::test]
async fn every_http_output_goes_through_its_proxy() {
    let receiver = HttpReceiver::start().await;
    let proxy = HttpProxy::start(Behaviour::ServeWith("Basic YW5uOnB3")).await;
    let setting = format!("proxy = \"http://ann:pw@{}\"\n", proxy.address);
    for (index, kind) in ["http", "otlp", "elasticsearch", "splunk"]
        .into_iter()
        .enumerate()
    {
        let mut output = open(&receiver.settings(kind, &setting)).await;
        let test_delivery = TestDelivery::new(index * 10..index * 10 + 3);
        accept(&mut *output, &test_delivery).await.unwrap();
        let heads = proxy.heads();
        let (last, url) = (
            heads.last().unwrap(),
            format!("POST http://{}/", receiver.address),
        );
        assert!(last.starts_with(&url), "{kind}: {last}");
    }
    assert_eq!(receiver.state.count(), 12);
    let none = receiver.settings("http", "proxy = \"none\"\n");
    let mut output = open(&none).await;
    let before = proxy.heads().len();
    accept(&mut *output, &TestDelivery::new(50..51))
        .await
        .unwrap();
    assert_eq!(proxy.heads().len(), before);
}

#[tokio::test]
async fn a_receiver_with_tls_is_reached_by_a_tunnel() {
    let directory = tempfile::tempdir().unwrap();
    let acceptor = write_certificates(directory.path());
    let receiver = HttpReceiver::start().await;
    let port = tls_proxy(acceptor, receiver.address).await.port();
    let proxy = HttpProxy::start(Behaviour::Serve).await;
    let at = |name: &str| directory.path().join(name).display().to_string();
    let settings = format!(
        "type = \"http\"\nendpoint = \"https://localhost:{port}\"\nconnections = 1\nproxy = \"{}\"\n\
         ca_file = \"{}\"\ncert_file = \"{}\"\nkey_file = \"{}\"\n",
        proxy.address,
        at("ca.pem"),
        at("client.pem"),
        at("client.key")
    );
    let mut output = open(&settings).await;
    accept(&mut *output, &TestDelivery::new(0..3))
        .await
        .unwrap();
    let wanted = format!("CONNECT localhost:{port} HTTP/1.1\r\n");
    assert!(proxy.heads()[0].starts_with(&wanted), "{:?}", proxy.heads());
    assert_eq!(receiver.state.count(), 3);

    drop(output);

    // Without the authority, the message says which one is missing.
    let settings = format!(
        "type = \"http\"\nendpoint = \"https://localhost:{port}\"\nconnections = 1\nproxy = \"{}\"\n",
        proxy.address
    );
    let mut output = open(&settings).await;
    let error = accept(&mut *output, &TestDelivery::new(3..4))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the certificate of localhost") && error.contains("set `ca_file`"),
        "{error}"
    );
    assert!(!error.contains("client error"), "{error}");
}

#[tokio::test]
async fn a_proxy_without_a_way_to_the_receiver_holds_the_events_up() {
    for (behaviour, part) in [
        (
            Behaviour::Respond("HTTP/1.1 403 Forbidden\r\n\r\n"),
            "refuses to connect to localhost:",
        ),
        // Whether it is an end or a reset depends on what has not been read.
        (Behaviour::Cut(0), "client error (Connect)"),
    ] {
        let receiver = HttpReceiver::start().await;
        let proxy = HttpProxy::start(behaviour).await;
        let settings = format!(
            "type = \"http\"\nendpoint = \"https://localhost:{}\"\nproxy = \"http://{}\"\n",
            receiver.address.port(),
            proxy.address
        );
        let mut output = open(&settings).await;
        let error = accept(&mut *output, &TestDelivery::new(0..1))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, OutputError::Retry(reason) if reason.contains(part)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_with_its_response() {
    let receiver = HttpReceiver::start().await;
    let asking = HttpProxy::start(Behaviour::ServeWith("Basic other")).await;
    let setting = format!("proxy = \"http://ann:s3cr3t-mark@{}\"\n", asking.address);
    let mut output = open(&receiver.settings("http", &setting)).await;
    let error = accept(&mut *output, &TestDelivery::new(0..1))
        .await
        .unwrap_err();
    let wanted = format!(
        "the proxy http://{} refuses the user name and password (HTTP 407); correct them in `proxy`",
        asking.address
    );
    assert!(
        matches!(&error, OutputError::ActionRequired(reason) if reason.ends_with(&wanted)),
        "{error}"
    );
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let setting = format!("proxy = \"http://ann:s3cr3t-mark@{address}\"\n");
    let mut output = open(&receiver.settings("http", &setting)).await;
    let error = accept(&mut *output, &TestDelivery::new(0..1))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("the proxy http://{address} cannot be reached")),
        "{error}"
    );
    assert!(!error.contains("s3cr3t-mark"), "{error}");
    assert_eq!(receiver.state.count(), 0);
    let refused = refusal(&receiver.settings("http", "proxy = \"socks5://ann:s3cr3t-mark@p:1\""));
    assert!(
        refused.contains("`proxy` begins with socks5://") && !refused.contains("s3cr3t-mark"),
        "{refused}"
    );
}
