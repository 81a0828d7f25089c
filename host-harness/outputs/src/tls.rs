//! TLS client configuration for a receiver: the system's trust anchors, those of a file, and a
//! client certificate.

use std::path::{Path, PathBuf};

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use source_common::exit::Failure;
use source_common::section::{Section, SettingsErrors};
use source_common::trust_anchors::{self, pem_error_message};

/// The TLS settings of an output.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    ca_file: Option<PathBuf>,
    client_auth_files: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Parses `ca_file`, `cert_file` and `key_file`.
    pub(super) fn read(section: &mut Section<'_>) -> Result<Self, Failure> {
        let mut errors = SettingsErrors::default();
        let ca_file = errors.ok_or_push(section.path("ca_file")).flatten();
        let certificate = errors.ok_or_push(section.path("cert_file"));
        let key = errors.ok_or_push(section.path("key_file"));
        let client_auth_files = match (certificate, key) {
            (Some(Some(certificate)), Some(Some(key))) => Some((certificate, key)),
            (Some(Some(_)), Some(None)) => {
                errors.push(section.error("cert_file", "needs key_file as well"));
                None
            }
            (Some(None), Some(Some(_))) => {
                errors.push(section.error("key_file", "needs cert_file as well"));
                None
            }
            _ => None,
        };
        errors.into_result()?;
        Ok(Self {
            ca_file,
            client_auth_files,
        })
    }

    /// Returns whether any of them is set, in which case plain text would be a mistake.
    pub(super) fn is_set(&self) -> bool {
        self.ca_file.is_some() || self.client_auth_files.is_some()
    }

    /// Reads the files, and returns the configuration.
    pub(super) fn config(&self) -> Result<ClientConfig, String> {
        let builder = trust_anchors::client_config_builder(self.ca_file.as_deref())?;
        match &self.client_auth_files {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|error| format!("cert_file {}: {error}", certificate.display())),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fail = |error| format!("cert_file {}: {}", path.display(), pem_error_message(error));
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .map_err(fail)?
        .collect::<Result<_, _>>()
        .map_err(fail)?;
    if certificates.is_empty() {
        let reason = format!(
            "cert_file {}: no certificate in PEM form in it",
            path.display()
        );
        return Err(reason);
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| format!("key_file {}: {}", path.display(), pem_error_message(error)))
}
