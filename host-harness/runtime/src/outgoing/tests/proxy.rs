//! Requests through a proxy, and certificates that are not accepted.

use std::fs;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::allow_list::AllowSetting;
use crate::outgoing::tests::http_proxy::{Behaviour, HttpProxy};

const HOST: &str = "api.example.test";

/// An upstream with a certificate for [`HOST`], by an authority in the file `ca.pem`.
async fn tls_upstream(directory: &Path) -> u16 {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "Corp Inspection CA");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(directory.join("ca.pem"), issuer.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut piece = [0; 1024];
                let _ = stream.read(&mut piece).await;
                let _ = stream.write_all(HELLO.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

fn proxies_at(url: &str, no_proxy: &'static str) -> Proxies {
    let environment = move |name: &str| (name == "NO_PROXY").then(|| no_proxy.to_owned());
    Proxies::from_setting(url, &environment).unwrap()
}

fn explanation(error: &HttpError) -> String {
    let HttpError::InternalError(Some(text)) = error else {
        panic!("{error}");
    };
    text.clone()
}

#[tokio::test]
async fn tls_goes_through_a_tunnel_with_the_login_and_the_proxy_resolves_the_name() {
    let directory = tempfile::tempdir().unwrap();
    let port = tls_upstream(directory.path()).await;
    // ann:pw
    let proxy = HttpProxy::start(Behaviour::ServeWith("Basic YW5uOnB3")).await;
    let uri = format!("https://{HOST}:{port}");
    let list = AllowList::parse(&[uri.as_str()]).unwrap();
    let proxies = proxies_at(&format!("http://ann:pw@{}", proxy.address), "");
    let ca_file = directory.path().join("ca.pem");
    let outgoing = OutgoingHttp::new(
        "acme",
        &ConnectionPools::default(),
        list,
        proxies,
        Some(&ca_file),
    )
    .unwrap();
    assert_eq!(
        body(send(&outgoing, &uri).await.unwrap()).await.unwrap(),
        "hello"
    );
    let heads = proxy.heads();
    assert_eq!(heads.len(), 1);
    assert!(
        heads[0].starts_with(&format!("CONNECT {HOST}:{port} HTTP/1.1\r\n")),
        "{heads:?}"
    );

    // Another origin is denied before the proxy is asked.
    let error = send(&outgoing, "https://other.example.test")
        .await
        .unwrap_err();
    assert!(matches!(error, HttpError::HttpRequestDenied), "{error}");
    assert_eq!(proxy.heads().len(), 1);
}

#[tokio::test]
async fn plain_requests_go_to_the_proxy_themselves() {
    let upstream = upstream(HELLO, false).await;
    let port = upstream.rsplit_once(':').unwrap().1;
    let proxy = HttpProxy::start(Behaviour::ServeWith("Basic YW5uOnB3")).await;
    let uri = format!("http://{HOST}:{port}");
    let proxies = proxies_at(&format!("http://ann:pw@{}", proxy.address), "");
    let outgoing = outgoing_through(proxies, &[&uri]);
    let response = send(&outgoing, &format!("{uri}/a?b=c")).await.unwrap();
    assert_eq!(body(response).await.unwrap(), "hello");
    let heads = proxy.heads();
    assert!(
        heads[0].starts_with(&format!("GET {uri}/a?b=c HTTP/1.1\r\n")),
        "{heads:?}"
    );

    let without = proxies_at(&format!("http://{}", proxy.address), "");
    let outgoing = outgoing_through(without, &[&uri]);
    let text = explanation(&send(&outgoing, &uri).await.unwrap_err());
    let wanted = format!(
        "the proxy http://{0} asks for a login (HTTP 407); write it in `proxy` as \
         http://USER:PASSWORD@{0}",
        proxy.address
    );
    assert_eq!(text, wanted);
}

#[tokio::test]
async fn an_address_that_only_the_component_describes_is_not_requested_through_a_proxy() {
    let upstream = upstream(HELLO, false).await;
    let port = upstream.rsplit_once(':').unwrap().1;
    let proxy = HttpProxy::start(Behaviour::Serve).await;
    let here = format!("http://localhost:{port}");
    let short = format!("http://127.1:{port}");
    let uris = [
        "http://169.254.169.254",
        "http://[::1]:8080",
        "https://[::ffff:10.0.0.1]",
        "http://2852039166",
        &*short,
        "http://0x7f000001",
        "https://0177.0.0.1",
        "http://0X7F.1.",
        &*here,
    ];
    let outgoing_to = |written: &[&str]| {
        let texts = |uris: &[&str]| uris.iter().map(|uri| (*uri).to_owned()).collect();
        let written = AllowSetting::Extend(texts(written));
        let described: Vec<String> = texts(&uris);
        let list = AllowList::new(written, &[], &described).unwrap();
        let proxies = proxies_at(&format!("http://{}", proxy.address), "");
        OutgoingHttp::new("acme", &ConnectionPools::default(), list, proxies, None).unwrap()
    };
    let outgoing = outgoing_to(&[]);
    for uri in uris {
        let error = send(&outgoing, uri).await.unwrap_err();
        assert!(
            matches!(error, HttpError::DestinationIpProhibited),
            "{uri}: {error}"
        );
    }
    assert_eq!(proxy.heads().len(), 0);

    // One that the settings name.
    let response = send(&outgoing_to(&[&here]), &here).await.unwrap();
    assert_eq!(body(response).await.unwrap(), "hello");
    assert_eq!(proxy.heads().len(), 1);
    let response = send(&outgoing_to(&[&short]), &short).await.unwrap();
    assert_eq!(body(response).await.unwrap(), "hello");
    assert_eq!(proxy.heads().len(), 2);
}

#[tokio::test]
async fn no_proxy_exempts_a_target() {
    let upstream = upstream(HELLO, false).await;
    let proxy = HttpProxy::start(Behaviour::Serve).await;
    let url = format!("http://{}", proxy.address);
    let outgoing = outgoing_through(proxies_at(&url, "localhost,127.0.0.0/8"), &[&upstream]);
    assert_eq!(
        body(send(&outgoing, &upstream).await.unwrap())
            .await
            .unwrap(),
        "hello"
    );
    assert_eq!(proxy.heads().len(), 0);
    let outgoing = outgoing_through(proxies_at(&url, "127.0.0.1:1"), &[&upstream]);
    assert_eq!(
        body(send(&outgoing, &upstream).await.unwrap())
            .await
            .unwrap(),
        "hello"
    );
    assert_eq!(proxy.heads().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_gives_no_connection_is_named_with_its_response() {
    let uri = format!("https://{HOST}");
    for (behaviour, part) in [
        (
            Behaviour::Respond("HTTP/1.1 403 Forbidden\r\n\r\nno"),
            "refuses to connect to api.example.test:443 (HTTP 403 Forbidden); allow it there",
        ),
        (
            Behaviour::ServeWith("Basic other"),
            "refuses the user name and password (HTTP 407); correct them in `proxy`",
        ),
        (
            Behaviour::Respond(""),
            "closed the connection before its response was complete",
        ),
        (
            Behaviour::Respond("220 smtp ESMTP\r\n\r\n"),
            "does not speak HTTP",
        ),
    ] {
        let proxy = HttpProxy::start(behaviour).await;
        let proxies = proxies_at(&format!("http://ann:s3cr3t@{}", proxy.address), "");
        let outgoing = outgoing_through(proxies, &[&uri]);
        let text = explanation(&send(&outgoing, &uri).await.unwrap_err());
        let name = format!("the proxy http://{} ", proxy.address);
        assert!(text.starts_with(&name) && text.contains(part), "{text}");
        assert!(!text.contains("s3cr3t"), "{text}");
    }
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let outgoing = outgoing_through(proxies_at(&format!("http://{address}"), ""), &[&uri]);
    let text = explanation(&send(&outgoing, &uri).await.unwrap_err());
    assert!(
        text.starts_with(&format!("the proxy http://{address} cannot be reached: "))
            && text.ends_with("check `proxy`"),
        "{text}"
    );
}

#[tokio::test]
async fn a_tunnel_that_is_cut_is_a_lost_connection() {
    let directory = tempfile::tempdir().unwrap();
    let port = tls_upstream(directory.path()).await;
    let uri = format!("https://{HOST}:{port}");
    let ca_file = directory.path().join("ca.pem");
    // Within the handshake, and without a byte.
    for bytes in [0, 100] {
        let proxy = HttpProxy::start(Behaviour::Cut(bytes)).await;
        let list = AllowList::parse(&[uri.as_str()]).unwrap();
        let proxies = proxies_at(&format!("http://{}", proxy.address), "");
        let outgoing = OutgoingHttp::new(
            "acme",
            &ConnectionPools::default(),
            list,
            proxies,
            Some(&ca_file),
        )
        .unwrap();
        let error = send(&outgoing, &uri).await.unwrap_err();
        assert!(
            matches!(error, HttpError::ConnectionTerminated),
            "{bytes}: {error}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_is_explained() {
    let directory = tempfile::tempdir().unwrap();
    let port = tls_upstream(directory.path()).await;
    let proxy = HttpProxy::start(Behaviour::Serve).await;
    let ca_file = directory.path().join("ca.pem");
    for (host, ca_file, part) in [
        (
            HOST,
            None,
            "is not trusted: its issuer CN=Corp Inspection CA is unknown",
        ),
        (
            "other.test",
            Some(&*ca_file),
            "is for api.example.test, and not for other.test",
        ),
    ] {
        let uri = format!("https://{host}:{port}");
        let list = AllowList::parse(&[uri.as_str()]).unwrap();
        let proxies = proxies_at(&format!("http://{}", proxy.address), "");
        let outgoing =
            OutgoingHttp::new("acme", &ConnectionPools::default(), list, proxies, ca_file).unwrap();
        let text = explanation(&send(&outgoing, &uri).await.unwrap_err());
        assert!(text.contains(part) && text.contains(host), "{text}");
    }
}
