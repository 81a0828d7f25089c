//! The server certificate. The files are re-read when they change, since a certificate
//! is renewed while the host runs.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use source_common::disk::FileVersion;
use source_common::trust_anchors::pem_error_message;
use tracing::warn;

use crate::settings::AdminTls;

/// The TLS configuration of the server, which is loaded again when its files change.
#[derive(Debug)]
pub(super) struct ReloadableTlsConfig {
    files: AdminTls,
    last: Mutex<([FileVersion; 2], Arc<ServerConfig>)>,
}

impl ReloadableTlsConfig {
    /// Reads the files. The error is a clause that names the file.
    pub(super) fn read(files: &AdminTls) -> Result<Self, String> {
        let last = (versions(files), load(files)?);
        Ok(Self {
            files: files.clone(),
            last: Mutex::new(last),
        })
    }

    /// Returns the current configuration, or the last one where a changed file cannot be used.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let current_versions = versions(&self.files);
        if current_versions != last.0 {
            last.0 = current_versions;
            match load(&self.files) {
                Ok(config) => last.1 = config,
                Err(reason) => {
                    warn!("[admin] tls: {reason}; the previous certificate stays in use");
                }
            }
        }
        Arc::clone(&last.1)
    }
}

/// Checks that the server can use the files. The error is a clause that begins with the setting.
pub(crate) fn check_certificate(files: &AdminTls) -> Result<(), String> {
    load(files).map(drop)
}

fn versions(files: &AdminTls) -> [FileVersion; 2] {
    [&files.cert_file, &files.key_file].map(|path| FileVersion::of(path))
}

fn load(files: &AdminTls) -> Result<Arc<ServerConfig>, String> {
    let cert_file = files.cert_file.display();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(
            certificates(&files.cert_file)?,
            private_key(&files.key_file)?,
        )
        .map_err(|error| format!("cert_file {cert_file}: {error}"))?;
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fail = |reason: String| format!("cert_file {}: {reason}", path.display());
    let found =
        CertificateDer::pem_file_iter(path).map_err(|error| fail(pem_error_message(error)))?;
    let found: Vec<_> = found
        .collect::<Result<_, _>>()
        .map_err(|error| fail(pem_error_message(error)))?;
    if found.is_empty() {
        return Err(fail("no certificate in PEM form in it".to_owned()));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| format!("key_file {}: {}", path.display(), pem_error_message(error)))
}
