//! TLS client configuration for a receiver: the system's trust anchors, those of a file, and a
//! client certificate.

use std::path::{Path, PathBuf};

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use source_common::exit::Failure;
use source_common::section::Section;
use source_common::trust_anchors;

/// The TLS settings of an output.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    ca_file: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Parses `ca_file`, `cert_file` and `key_file`.
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, Failure> {
        let ca_file = section.path("ca_file")?;
        let certificate = match (section.path("cert_file")?, section.path("key_file")?) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(_), None) => {
                return Err(section.error("cert_file", "needs key_file as well"));
            }
            (None, Some(_)) => {
                return Err(section.error("key_file", "needs cert_file as well"));
            }
        };
        Ok(Self {
            ca_file,
            certificate,
        })
    }

    /// Returns whether any of them is set, in which case plain text would be a mistake.
    pub(super) fn is_set(&self) -> bool {
        self.ca_file.is_some() || self.certificate.is_some()
    }

    /// Read the files.
    pub(super) fn config(&self) -> Result<ClientConfig, String> {
        let builder = trust_anchors::client_config(self.ca_file.as_deref())?;
        match &self.certificate {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|error| format!("cert_file {}: {error}", certificate.display())),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fail =
        |error: rustls::pki_types::pem::Error| format!("cert_file {}: {error}", path.display());
    CertificateDer::pem_file_iter(path)
        .map_err(fail)?
        .collect::<Result<_, _>>()
        .map_err(fail)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| format!("key_file {}: {error}", path.display()))
}
