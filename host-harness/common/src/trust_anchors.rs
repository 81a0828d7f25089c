//! Certificates that a peer may prove itself with.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Returns the trust anchors of the system, and those of `ca_file`. A system
/// without any is no error: TLS itself then says what is missing, and
/// plain-text origins need none.
pub fn load(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        add_file(&mut roots, path)
            .map_err(|reason| format!("ca_file {}: {reason}", path.display()))?;
    }
    Ok(roots)
}

/// Adds the certificates of a PEM file, of which there must be one at least.
/// The error is a clause about the file.
fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let mut count = 0_usize;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        count += 1;
    }
    match count {
        0 => Err("no certificate in PEM form in it".to_owned()),
        _ => Ok(()),
    }
}
