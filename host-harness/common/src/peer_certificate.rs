//! Verifies the certificate that a server presents, and explains why one is not accepted.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use crate::escape::escape;
use crate::proxy::ProxyError;
use crate::timestamp::time_text;

/// Maximum length of a name of a certificate, or of the list of its host names, in an error, since it is
/// untrusted text.
const NAME_CHARS_MAX: usize = 200;
/// Maximum number of host names of a certificate that an error lists.
const NAMES_MAX: usize = 5;

/// The error of a connection whose server presented a certificate that is not accepted.
/// [`actionable_cause`] finds it.
#[derive(Debug)]
pub struct CertificateRefused(String);

impl fmt::Display for CertificateRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for CertificateRefused {}

/// Returns the text of the first error in a chain that explains by itself what to do: a
/// certificate that is not accepted, or an error of a proxy.
#[must_use]
pub fn actionable_cause(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(proxy) = current.downcast_ref::<ProxyError>() {
            return Some(proxy.to_string());
        }
        if let Some(tls) = current.downcast_ref::<rustls::Error>() {
            return certificate_refusal(tls).map(ToString::to_string);
        }
        // `io::Error::source` skips the error that it wraps.
        let wrapped = current
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    None
}

/// Returns the refusal of a certificate, if that is what a TLS error is about.
#[must_use]
pub fn certificate_refusal(error: &rustls::Error) -> Option<&CertificateRefused> {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = error
    else {
        return None;
    };
    inner.downcast_ref()
}

/// Verifies certificates as rustls does by default, with errors that explain what is wrong and what
/// to do.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// `None` without a trust anchor.
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(crate) fn new(roots: RootCertStore, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let inner = if roots.is_empty() {
            None
        } else {
            let builder =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            Some(builder.build().map_err(|error| error.to_string())?)
        };
        Ok(Self { inner, provider })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let host = server_name.to_str();
        let Some(inner) = &self.inner else {
            return Err(invalid_certificate(format!(
                "the certificate of {host} cannot be checked: this system has no \
                 CA certificates; install them (the package ca-certificates), or set `ca_file`"
            )));
        };
        inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| {
                if let rustls::Error::InvalidCertificate(reason) = &error {
                    return invalid_certificate(explain(reason, end_entity, intermediates, &host));
                }
                error
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

fn invalid_certificate(text: String) -> rustls::Error {
    let refused = OtherError(Arc::new(CertificateRefused(text)));
    rustls::Error::InvalidCertificate(CertificateError::Other(refused))
}

/// Explains why the certificate of a host is not accepted, and what to do.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the errors of another crate, most of which need no advice of their own"
)]
fn explain(
    reason: &CertificateError,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    host: &str,
) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(end_entity) else {
        return format!("the certificate of {host} cannot be read: {reason}");
    };
    let subject = format_name(certificate.subject());
    let issuer = format_name(certificate.issuer());
    let validity = certificate.validity();
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "the certificate of {host} ({subject}, issued by {issuer}) expired on {}; renew it \
             there, or set the clock of this machine",
            format_time(&validity.not_after)
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
            "the certificate of {host} ({subject}, issued by {issuer}) is not valid before {}; set \
             the clock of this machine",
            format_time(&validity.not_before)
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "the certificate that {host} presents ({subject}, issued by {issuer}) is for {}, and \
                 not for {host}; correct the host in the settings, or check whether a proxy or \
                 another server answers in its place",
                host_names(&certificate)
            )
        }
        _ if certificate.subject() == certificate.issuer() => format!(
            "the certificate of {host} ({subject}, valid until {}) is self-signed and not trusted; \
             {}",
            format_time(&validity.not_after),
            if certificate.is_ca() {
                "it is a CA certificate, which a server cannot use: have the CA issue one for the \
                 server, and set `ca_file` to this one"
            } else {
                "if it is the right one, save it as PEM and set `ca_file` to that file"
            }
        ),
        CertificateError::UnknownIssuer => {
            let top = top_issuer(&certificate, intermediates);
            format!(
                "the certificate of {host} ({subject}, valid until {}) is not trusted: its issuer \
                 {top} is unknown; with TLS inspection or a private CA, set \
                 `ca_file` to the certificate of that issuer",
                format_time(&validity.not_after)
            )
        }
        other => format!(
            "the certificate of {host} ({subject}, issued by {issuer}) is not accepted: {other}"
        ),
    }
}

/// Returns the issuer at the end of the chain that the server presents.
fn top_issuer(certificate: &X509Certificate<'_>, intermediates: &[CertificateDer<'_>]) -> String {
    let parsed = intermediates.iter().filter_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(certificate)
    });
    let parsed: Vec<X509Certificate<'_>> = parsed.collect();
    let mut top = certificate.issuer();
    // Bounded by the length of the chain, which may be circular.
    for _ in &parsed {
        let next = parsed.iter().find(|one| one.subject() == top);
        match next {
            Some(next) if next.issuer() != top => top = next.issuer(),
            _ => break,
        }
    }
    format_name(top)
}

fn format_name(name: &X509Name<'_>) -> String {
    let text: String = name.to_string().chars().take(NAME_CHARS_MAX).collect();
    if text.is_empty() {
        return "no name".to_owned();
    }
    escape(&text).into_owned()
}

/// Lists the host names and addresses that a certificate is for.
fn host_names(certificate: &X509Certificate<'_>) -> String {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let all = extension.map(|extension| extension.value.general_names.as_slice());
    let hosts = all.unwrap_or_default().iter().filter_map(|name| {
        if let GeneralName::DNSName(name) = name {
            return Some((*name).to_owned());
        }
        let GeneralName::IPAddress(bytes) = name else {
            return None;
        };
        ip_address(bytes)
    });
    let hosts: Vec<String> = hosts.collect();
    let listed: Vec<&str> = hosts.iter().take(NAMES_MAX).map(String::as_str).collect();
    let text: String = listed.join(", ").chars().take(NAME_CHARS_MAX).collect();
    match hosts.len() {
        0 => "no host".to_owned(),
        count if count > NAMES_MAX => format!("{} and others", escape(&text)),
        _ => escape(&text).into_owned(),
    }
}

fn ip_address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(sixteen).to_string())
}

fn format_time(time: &ASN1Time) -> String {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    time_text(seconds.saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::*;

    fn params(hosts: &[&str], name: &str) -> CertificateParams {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn signed(params: &CertificateParams, issuer: &CertifiedIssuer<'_, KeyPair>) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, issuer).unwrap().der().to_vec()
    }

    /// Why a chain is refused by a verifier that trusts these.
    fn refusal(trusted: &[&CertificateDer<'_>], chain: &[Vec<u8>], host: &str) -> String {
        let mut roots = RootCertStore::empty();
        for certificate in trusted {
            roots.add((*certificate).clone().into_owned()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(roots, provider).unwrap();
        let chain: Vec<CertificateDer<'_>> = chain
            .iter()
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let (first, rest) = chain.split_first().unwrap();
        let verified = verifier.verify_server_cert(first, rest, &name, &[], UnixTime::now());
        // As it comes out of a connection.
        let error = io::Error::other(verified.unwrap_err());
        actionable_cause(&error).unwrap()
    }

    #[test]
    fn an_unknown_issuer_is_named_with_ca_file() {
        let (ours, inspecting) = (authority("Ours"), authority("Corp Inspection CA"));
        let leaf = signed(
            &params(&["api.example.com"], "api.example.com"),
            &inspecting,
        );
        let text = refusal(&[ours.der()], &[leaf], "api.example.com");
        assert!(
            text.starts_with(
                "the certificate of api.example.com (CN=api.example.com, valid until "
            ) && text.contains("its issuer CN=Corp Inspection CA is unknown")
                && text.contains("set `ca_file` to the certificate of that issuer"),
            "{text}"
        );
    }

    #[test]
    fn of_a_chain_the_issuer_of_its_end_is_named() {
        let (ours, root) = (authority("Ours"), authority("Root"));
        let mut middle = params(&[], "Middle");
        middle.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let middle =
            CertifiedIssuer::signed_by(middle, KeyPair::generate().unwrap(), &root).unwrap();
        let leaf = signed(&params(&["a.example.com"], "a"), &middle);
        let chain = [leaf, middle.der().to_vec()];
        let text = refusal(&[ours.der()], &chain, "a.example.com");
        assert!(text.contains("its issuer CN=Root is unknown"), "{text}");
        // Accepted with it.
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(roots, provider).unwrap();
        let [leaf, middle] = chain
            .each_ref()
            .map(|der| CertificateDer::from(der.as_slice()));
        let name = ServerName::try_from("a.example.com").unwrap();
        verifier
            .verify_server_cert(&leaf, &[middle], &name, &[], UnixTime::now())
            .unwrap();
    }

    #[test]
    fn expired_and_future_certificates_name_the_time_and_the_clock() {
        let ours = authority("Ours");
        let mut old = params(&["a.example.com"], "a");
        old.not_before = rcgen::date_time_ymd(2020, 1, 1);
        old.not_after = rcgen::date_time_ymd(2021, 2, 3);
        let text = refusal(&[ours.der()], &[signed(&old, &ours)], "a.example.com");
        assert!(
            text.contains("(CN=a, issued by CN=Ours) expired on 2021-02-03T00:00:00Z; renew it")
                && text.contains("the clock"),
            "{text}"
        );
        let mut new = params(&["a.example.com"], "a");
        new.not_before = rcgen::date_time_ymd(3000, 1, 1);
        new.not_after = rcgen::date_time_ymd(3001, 1, 1);
        let text = refusal(&[ours.der()], &[signed(&new, &ours)], "a.example.com");
        assert!(
            text.contains("not valid before 3000-01-01T00:00:00Z"),
            "{text}"
        );
    }

    #[test]
    fn a_certificate_of_another_host_names_both() {
        let ours = authority("Ours");
        let hosts = ["other.example.com", "10.0.0.1", "fd00::1", "d", "e", "f"];
        let leaf = signed(&params(&hosts, "x"), &ours);
        let text = refusal(&[ours.der()], &[leaf], "a.example.com");
        assert!(
            text.contains(
                "is for other.example.com, 10.0.0.1, fd00::1, d, e and others, and not for \
                 a.example.com"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_self_signed_certificate_is_reported_as_such() {
        let ours = authority("Ours");
        let key = KeyPair::generate().unwrap();
        let own = params(&["a.example.com"], "Appliance")
            .self_signed(&key)
            .unwrap();
        let text = refusal(&[ours.der()], &[own.der().to_vec()], "a.example.com");
        assert!(
            text.contains("(CN=Appliance, valid until ")
                && text.contains("is self-signed and not trusted; if it is"),
            "{text}"
        );
        let text = refusal(
            &[authority("x").der()],
            &[ours.der().to_vec()],
            "a.example.com",
        );
        assert!(
            text.contains("it is a CA certificate, which a server cannot use"),
            "{text}"
        );
    }

    #[test]
    fn without_any_authority_it_says_so_and_names_stay_on_one_line() {
        let ours = authority("a\nb\u{202e}");
        let leaf = signed(&params(&["a.example.com"], &"x".repeat(5_000)), &ours);
        let text = refusal(&[], std::slice::from_ref(&leaf), "a.example.com");
        assert!(
            text.contains("this system has no CA certificates"),
            "{text}"
        );
        let text = refusal(&[authority("y").der()], &[leaf], "a.example.com");
        assert!(!text.contains('\n') && !text.contains('\u{202e}'), "{text}");
        assert!(text.len() < 900, "{text}");
    }
}
