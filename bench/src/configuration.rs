//! The files that drive the implementations: written once per run, from the templates in `bench/configuration`.
//!
//! Ours and Envoy's come from one template and differ in port numbers only.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use portolan_identity::{CertificateAuthority, SpiffeId};

use crate::error::BenchError;
use crate::scenario::Hop;

const TRUST_DOMAIN: &str = "cluster.local";
/// Longer than any run.
const CERTIFICATE_TTL: Duration = Duration::from_secs(24 * 3600);
/// Host that requests are for.
pub(crate) const HOST: &str = "backend.shop.svc.cluster.local";
/// What the application answers.
pub(crate) const BODY: &str =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";
/// Identity that the backend sees.
pub(crate) const CLIENT_IDENTITY: &str = "spiffe://cluster.local/ns/shop/sa/client";

/// A template with its name.
pub(crate) struct Template {
    name: &'static str,
    text: &'static str,
}

macro_rules! template {
    ($name:literal) => {
        Template { name: $name, text: include_str!(concat!("../configuration/", $name)) }
    };
}

pub(crate) const CLIENT: Template = template!("client.yaml");
pub(crate) const SERVER: Template = template!("server.yaml");
pub(crate) const PLAIN: Template = template!("plain.yaml");
pub(crate) const PLAIN_NGINX: Template = template!("plain.conf");
pub(crate) const BACKEND: Template = template!("backend.conf");
const ACCESS_LOG: &str = include_str!("../configuration/access_log.yaml");
const WRK_SCRIPT: &str = include_str!("../configuration/report.lua");

/// Directories that nginx would otherwise make outside of the run's folder.
const NGINX_TEMPORARY: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

/// The folder of a run; removed with it.
#[derive(Debug)]
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// Makes the folder with the certificates and the script in it.
    pub(crate) fn create() -> Result<Self, BenchError> {
        let folder = Folder(
            tempfile::Builder::new().prefix("portolan-bench-").tempdir().map_err(BenchError::Resources)?,
        );
        let now = SystemTime::now();
        let authority = CertificateAuthority::self_signed(TRUST_DOMAIN, now, CERTIFICATE_TTL)?;
        folder.write("root.pem", authority.root_pem())?;
        for account in ["client", "backend"] {
            let id = SpiffeId::workload(TRUST_DOMAIN, "shop", account)?;
            let issued = authority.issue(&id, &[], now, CERTIFICATE_TTL)?;
            folder.write(&format!("{account}.pem"), &issued.chain_pem())?;
            folder.write(&format!("{account}.key"), issued.key_pem.as_deref().unwrap_or_default())?;
        }
        folder.write("report.lua", WRK_SCRIPT)?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, BenchError> {
        let path = self.file(name);
        fs::write(&path, text).map_err(|source| BenchError::File { path: path.clone(), source })?;
        Ok(path)
    }

    /// Writes a template with its values as file `name`.
    pub(crate) fn render(
        &self,
        template: &Template,
        name: &str,
        values: &Values,
    ) -> Result<PathBuf, BenchError> {
        let text = values.fill(template, self.path(), name)?;
        let ending = template.name.rsplit_once('.').map_or("txt", |(_, ending)| ending);
        self.write(&format!("{name}.{ending}"), &text)
    }
}

/// What differs between files of one template.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values {
    pub(crate) admin: u16,
    pub(crate) entry: u16,
    pub(crate) mtls: u16,
    pub(crate) backend: u16,
    pub(crate) hop: Hop,
    pub(crate) access_log: bool,
}

impl Values {
    fn fill(&self, template: &Template, folder: &Path, name: &str) -> Result<String, BenchError> {
        let (hop_options, hop_alpn) = match self.hop {
            // Without the mesh's names ours does not look for its like.
            Hop::Http1 => ("{http_protocol_options: {}}", "[http/1.1]"),
            Hop::Mesh => ("{http_protocol_options: {}}", "[istio-http/1.1, istio, http/1.1]"),
            Hop::Http2 => {
                ("{http2_protocol_options: {max_concurrent_streams: 1073741824}}", "[istio-h2, istio, h2]")
            }
        };
        let folder = folder.display().to_string();
        let temporary: String = NGINX_TEMPORARY
            .iter()
            .map(|kind| format!("{kind}_temp_path {folder}/{name}-{kind};\n    "))
            .collect();
        let mut text = template.text.to_owned();
        for (key, value) in [
            ("ADMIN_PORT", self.admin.to_string()),
            ("ENTRY_PORT", self.entry.to_string()),
            ("MTLS_PORT", self.mtls.to_string()),
            ("BACKEND_PORT", self.backend.to_string()),
            ("HOP_OPTIONS", hop_options.to_owned()),
            ("HOP_ALPN", hop_alpn.to_owned()),
            ("ACCESS_LOG", if self.access_log { indented(ACCESS_LOG) } else { "[]".to_owned() }),
            ("CERTIFICATES", folder.clone()),
            ("FOLDER", folder),
            ("BODY", BODY.to_owned()),
            ("NAME", name.to_owned()),
            ("TEMPORARY", temporary),
        ] {
            text = text.replace(&format!("${{{key}}}"), &value);
        }
        match text.find("${") {
            None => Ok(text),
            Some(at) => Err(BenchError::Template {
                template: template.name,
                rest: text[at..].lines().next().unwrap_or_default().to_owned(),
            }),
        }
    }
}

/// A block below the key that it is the value of.
fn indented(block: &str) -> String {
    block.lines().map(|line| format!("\n          {line}")).collect()
}

/// A port of the loopback interface that was free just now.
pub(crate) fn free_port() -> Result<u16, BenchError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(BenchError::Resources)?;
    Ok(bound.local_addr().map_err(BenchError::Resources)?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled() {
        for hop in [Hop::Http1, Hop::Http2, Hop::Mesh] {
            for access_log in [false, true] {
                let values = Values { admin: 1, entry: 2, mtls: 3, backend: 4, hop, access_log };
                for template in [&CLIENT, &SERVER, &PLAIN, &PLAIN_NGINX, &BACKEND] {
                    let text = values.fill(template, Path::new("/run"), "x").unwrap();
                    assert!(!text.contains("${"), "{text}");
                    // Ours and Envoy's differ in port numbers only.
                    let other = Values { admin: 5, entry: 6, mtls: 7, ..values };
                    let other = other.fill(template, Path::new("/run"), "x").unwrap();
                    let differing = text.lines().zip(other.lines()).filter(|(a, b)| a != b);
                    for (line, _) in differing {
                        assert!(line.contains("port_value") || line.contains("listen "), "{line}");
                    }
                }
            }
        }
        let values = Values { admin: 1, entry: 2, mtls: 3, backend: 4, hop: Hop::Http1, access_log: false };
        let unknown = Template { name: "x", text: "a: ${B}\nc" };
        let error = values.fill(&unknown, Path::new("/"), "x").unwrap_err().to_string();
        assert!(error.ends_with("${B}"), "{error}");
    }
}
