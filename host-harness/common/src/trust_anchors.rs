//! Certificates that a peer may prove itself with, from a file.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Adds the certificates of a PEM file, of which there must be one at least.
/// The error is a clause about the file.
pub fn add_anchors(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
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
