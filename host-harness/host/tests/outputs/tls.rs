//! TLS: a receiver with a certificate of a private authority, which asks for
//! one in return.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::forward_receiver::{ForwardReceiver, ForwardReceiverConfig};
use crate::http_receiver::HttpReceiver;
use crate::test_delivery::{TestDelivery, accept, open};

/// Writes the certificates and keys of an authority, a server and a client into a directory.
/// Returns the acceptor of a receiver that has the server's and requires the client's.
pub(crate) fn write_certificates(directory: &Path) -> TlsAcceptor {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(directory.join("ca.pem"), issuer.pem()).unwrap();
    for name in ["localhost", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let signed = params.signed_by(&key, &issuer).unwrap();
        fs::write(directory.join(format!("{name}.pem")), signed.pem()).unwrap();
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(directory.join("ca.pem")).unwrap())
        .unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let chain = vec![CertificateDer::from_pem_file(directory.join("localhost.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(directory.join("localhost.key")).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn both_ends_show_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let demands = ForwardReceiverConfig {
        tls: Some(write_certificates(directory.path())),
        ..ForwardReceiverConfig::default()
    };
    let receiver = ForwardReceiver::start(demands).await;
    let file = |name: &str| directory.path().join(name).display().to_string();
    let trusting = format!(
        "tls = true\nserver_name = \"localhost\"\nca_file = \"{}\"\n",
        file("ca.pem")
    );
    let known = format!(
        "{trusting}cert_file = \"{}\"\nkey_file = \"{}\"",
        file("client.pem"),
        file("client.key")
    );
    let mut output = open(&receiver.settings(&known)).await;
    accept(&mut *output, &TestDelivery::new(0..3))
        .await
        .unwrap();
    accept(&mut *output, &TestDelivery::new(3..5))
        .await
        .unwrap();
    assert_eq!(receiver.state.numbers(), [0, 1, 2, 3, 4]);

    for stranger in [trusting.as_str(), "tls = true\nserver_name = \"localhost\""] {
        let mut output = open(&receiver.settings(stranger)).await;
        accept(&mut *output, &TestDelivery::new(5..6))
            .await
            .unwrap_err();
    }
    assert_eq!(receiver.state.numbers().len(), 5);
}

/// TLS in front of a receiver that has none.
pub(crate) async fn tls_proxy(acceptor: TlsAcceptor, receiver: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut outer) = acceptor.accept(stream).await else {
                continue;
            };
            let mut inner = TcpStream::connect(receiver).await.unwrap();
            // It ends when either end does.
            drop(copy_bidirectional(&mut outer, &mut inner).await);
        }
    });
    address
}

#[tokio::test]
async fn http_trusts_the_authority_it_is_told_of_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = HttpReceiver::start().await;
    let address = tls_proxy(write_certificates(directory.path()), receiver.address).await;
    let file = |name: &str| directory.path().join(name).display().to_string();
    let settings = |more: &str| {
        let port = address.port();
        format!("type = \"http\"\nendpoint = \"https://localhost:{port}\"\nconnections = 1\n{more}")
    };
    let client = format!(
        "cert_file = \"{}\"\nkey_file = \"{}\"\n",
        file("client.pem"),
        file("client.key")
    );
    let trusting = format!("{client}ca_file = \"{}\"", file("ca.pem"));
    let mut output = open(&settings(&trusting)).await;
    accept(&mut *output, &TestDelivery::new(0..3))
        .await
        .unwrap();
    drop(output);
    let mut output = open(&settings(&client)).await;
    let error = accept(&mut *output, &TestDelivery::new(3..4))
        .await
        .unwrap_err();
    let wanted = "the certificate of localhost";
    assert!(error.to_string().contains(wanted), "{error}");
    assert_eq!(receiver.state.numbers(), [0, 1, 2]);
}
