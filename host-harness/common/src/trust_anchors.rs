//! TLS trust anchors (root certificates) for connections to receivers and upstreams.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

use crate::disk::FileVersion;
use crate::peer_certificate::Verifier;
use rustls::client::WantsClientCert;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

/// Returns the trust anchors of the system, and those of `ca_file`. A system
/// without any is no error: TLS connections then fail with a message that says what is missing, and
/// plain-text origins need none.
fn load(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        add_file(&mut roots, path)
            .map_err(|reason| format!("ca_file {}: {reason}", path.display()))?;
    }
    Ok(roots)
}

/// Identifies a `ca_file` and its version.
type CaFile = (PathBuf, FileVersion);

/// Configurations in use. Loading the system's anchors takes 100 KiB and opens hundreds of files.
static SHARED: Mutex<BTreeMap<Option<CaFile>, Weak<ClientConfig>>> = Mutex::new(BTreeMap::new());

/// Returns a client configuration without a client certificate. All clients with the
/// same `ca_file` share one while any of them is in use; a file that has changed is read again.
pub fn shared_client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let identity = ca_file.map(|path| (path.to_owned(), FileVersion::of(path)));
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(config) = shared.get(&identity).and_then(Weak::upgrade) {
        return Ok(config);
    }
    let config = Arc::new(client_config_builder(ca_file)?.with_no_client_auth());
    shared.retain(|_, config| config.strong_count() > 0);
    shared.insert(identity, Arc::downgrade(&config));
    Ok(config)
}

/// Starts building the configuration of a client that trusts the system's anchors and those of
/// `ca_file`, and whose errors explain why a certificate is not accepted.
pub fn client_config_builder(
    ca_file: Option<&Path>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(load(ca_file)?, Arc::clone(&provider))?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous() // The verifier leaves every decision to that of rustls.
        .with_custom_certificate_verifier(Arc::new(verifier)))
}

/// Checks that a `ca_file` can be used. The error is a clause that begins with the setting.
pub fn check(ca_file: &Path) -> Result<(), String> {
    add_file(&mut RootCertStore::empty(), ca_file)
        .map_err(|reason| format!("ca_file {}: {reason}", ca_file.display()))
}

/// Adds the certificates of a PEM file, of which there must be one at least.
/// The error is a clause about the file.
fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(pem_error_message)?;
    let mut count = 0_usize;
    for certificate in certificates {
        let certificate = certificate.map_err(pem_error_message)?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        count += 1;
    }
    match count {
        0 => Err("no certificate in PEM form in it".to_owned()),
        _ => Ok(()),
    }
}

/// Formats why a PEM file cannot be read; an I/O error is formatted as the system's message alone.
#[must_use]
pub fn pem_error_message(error: pem::Error) -> String {
    if let pem::Error::Io(error) = &error {
        return error.to_string();
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn clients_share_a_configuration_and_a_bad_file_is_an_error() {
        let system = shared_client_config(None).unwrap();
        assert!(Arc::ptr_eq(&system, &shared_client_config(None).unwrap()));

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let missing = shared_client_config(Some(&path)).unwrap_err();
        assert!(missing.starts_with("ca_file "), "{missing}");
        fs::write(&path, "not a certificate").unwrap();
        let error = shared_client_config(Some(&path)).unwrap_err();
        assert!(error.contains("no certificate in PEM form"), "{error}");
        drop(system);
    }
}
