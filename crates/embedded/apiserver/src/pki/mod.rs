//! The cluster's keys and certificates, made on the first start and kept in one directory.
//!
//! One ECDSA P-256 CA signs the serving certificate and client certificates; a key of its own signs
//! ServiceAccount tokens. The serving certificate is made anew at every start, because the addresses may
//! have changed. Private keys are readable by the owner only and never logged.

mod check;
mod files;
mod kubeconfig;

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::ServerError;

pub(crate) use kubeconfig::kubeconfig;

/// Name of the CA.
const CA_NAME: &str = "portolan-cluster-ca";
/// Subject of the administrator's certificate.
const ADMIN_NAME: &str = "portolan-admin";
/// The group that RBAC lets do everything (Kubernetes' own name).
pub(crate) const MASTERS: &str = "system:masters";
const CA_YEARS: i16 = 10;
/// A process that runs longer than this must be restarted; clients accept it as the CA is private.
const LEAF_YEARS: i16 = 5;

/// All keys and certificates of the server.
pub(crate) struct Pki {
    /// The CA's certificate, PEM.
    pub(crate) ca_pem: String,
    /// The CA's certificate.
    pub(crate) ca: CertificateDer<'static>,
    /// The serving certificate.
    pub(crate) serving: CertificateDer<'static>,
    /// Its key.
    pub(crate) serving_key: PrivateKeyDer<'static>,
    /// The administrator's client certificate, PEM.
    pub(crate) admin_pem: String,
    /// Its key, PEM.
    pub(crate) admin_key_pem: String,
    /// The key that signs ServiceAccount tokens.
    pub(crate) token_key: KeyPair,
}

impl Pki {
    /// Loads what is in `directory`, makes what is missing.
    pub(crate) fn load(directory: &Path, names: &[String], addresses: &[IpAddr]) -> Result<Pki, ServerError> {
        files::make_directory(directory)?;
        let (ca_key_path, ca_path) = (directory.join("ca.key"), directory.join("ca.crt"));
        let lost = || ServerError::LostKey {
            path: ca_key_path.clone(),
            certificate: ca_path.clone(),
            directory: directory.to_owned(),
        };
        let known = files::read(&ca_path)?;
        if known.is_some() && files::read(&ca_key_path)?.is_none() {
            return Err(lost());
        }
        let ca_key = key(&ca_key_path)?;
        let ca_pem = match known {
            Some(pem) => pem,
            None => {
                let pem = ca_params()
                    .self_signed(&ca_key)
                    .map_err(|error| ServerError::pki(&ca_path, &error))?
                    .pem();
                files::write_public(&ca_path, &pem)?;
                pem
            }
        };
        let ca = parse_certificate(&ca_path, &ca_pem)?;
        check::clock(&ca_path, &ca)?;
        if !check::is_key_of(&ca_key, &ca) {
            return Err(lost());
        }
        let issuer =
            Issuer::from_ca_cert_pem(&ca_pem, &ca_key).map_err(|error| ServerError::pki(&ca_path, &error))?;

        let serving_path = directory.join("apiserver.crt");
        let serving_key = key(&directory.join("apiserver.key"))?;
        let mut params = leaf("kube-apiserver", None, ExtendedKeyUsagePurpose::ServerAuth);
        for name in names {
            let dns = name.as_str().try_into().map_err(|error| ServerError::pki(&serving_path, &error))?;
            params.subject_alt_names.push(SanType::DnsName(dns));
        }
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        let serving = params
            .signed_by(&serving_key, &issuer)
            .map_err(|error| ServerError::pki(&serving_path, &error))?;
        files::write_public(&serving_path, &serving.pem())?;

        let admin_path = directory.join("admin.crt");
        let admin_key = key(&directory.join("admin.key"))?;
        let known = match files::read(&admin_path)? {
            Some(pem) => {
                let certificate = parse_certificate(&admin_path, &pem)?;
                check::clock(&admin_path, &certificate)?;
                // Of another key it proves nothing; the CA can sign a new one.
                check::is_key_of(&admin_key, &certificate).then_some(pem)
            }
            None => None,
        };
        let admin_pem = match known {
            Some(pem) => pem,
            None => {
                let pem = leaf(ADMIN_NAME, Some(MASTERS), ExtendedKeyUsagePurpose::ClientAuth)
                    .signed_by(&admin_key, &issuer)
                    .map_err(|error| ServerError::pki(&admin_path, &error))?
                    .pem();
                files::write_public(&admin_path, &pem)?;
                pem
            }
        };
        let token_key = key(&directory.join("sa.key"))?;
        files::write_public(&directory.join("sa.pub"), &token_key.public_key_pem())?;
        Ok(Pki {
            ca_pem,
            ca,
            serving: serving.der().clone(),
            serving_key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(serving_key.serialize_der())),
            admin_pem,
            admin_key_pem: admin_key.serialize_pem(),
            token_key,
        })
    }
}

/// The key in a file, made if there is none.
fn key(path: &Path) -> Result<KeyPair, ServerError> {
    if let Some(pem) = files::read(path)? {
        return KeyPair::from_pem(&pem).map_err(|error| ServerError::pki(path, &error));
    }
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .map_err(|error| ServerError::pki(path, &error))?;
    files::write_private(path, &key.serialize_pem())?;
    Ok(key)
}

fn parse_certificate(path: &Path, pem: &str) -> Result<CertificateDer<'static>, ServerError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| ServerError::pki(path, &error))
}

fn ca_params() -> CertificateParams {
    let mut params = validity(CA_YEARS);
    params.distinguished_name.push(DnType::CommonName, CA_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn leaf(name: &str, organization: Option<&str>, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = validity(LEAF_YEARS);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

/// Parameters valid from yesterday on (clocks differ), for some years.
fn validity(years: i16) -> CertificateParams {
    let today = jiff::Zoned::now().date();
    let yesterday = today.yesterday().unwrap_or(today);
    let date = |date: jiff::civil::Date, plus: i16| {
        // The 28th exists in every month of every year.
        date_time_ymd(
            i32::from(date.year() + plus),
            date.month().unsigned_abs(),
            date.day().unsigned_abs().min(28),
        )
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = date(yesterday, 0);
    params.not_after = date(yesterday, years);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(directory: &Path) -> Result<Pki, ServerError> {
        Pki::load(directory, &[], &[])
    }

    #[test]
    fn a_lost_key_is_named() {
        let directory = tempfile::tempdir().unwrap();
        load(directory.path()).unwrap();
        load(directory.path()).unwrap();
        let key = directory.path().join("ca.key");
        std::fs::remove_file(&key).unwrap();
        let error = load(directory.path()).err().unwrap();
        assert!(
            matches!(error, ServerError::LostKey { .. }) && error.to_string().contains("ca.key"),
            "{error}"
        );
        std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let error = load(directory.path()).err().unwrap();
        assert!(matches!(error, ServerError::LostKey { .. }), "{error}");
    }

    #[test]
    fn a_lost_key_of_the_administrator_is_made_anew_with_its_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let before = load(directory.path()).unwrap().admin_pem;
        assert_eq!(load(directory.path()).unwrap().admin_pem, before);
        std::fs::remove_file(directory.path().join("admin.key")).unwrap();
        let after = load(directory.path()).unwrap();
        assert_ne!(after.admin_pem, before);
        let certificate = parse_certificate(Path::new("admin.crt"), &after.admin_pem).unwrap();
        assert!(check::is_key_of(&KeyPair::from_pem(&after.admin_key_pem).unwrap(), &certificate));
    }

    #[test]
    fn a_clock_before_the_certificate_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = ca_params();
        params.not_before = date_time_ymd(2200, 1, 1);
        params.not_after = date_time_ymd(2210, 1, 1);
        std::fs::write(directory.path().join("ca.key"), key.serialize_pem()).unwrap();
        std::fs::write(directory.path().join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        let error = load(directory.path()).err().unwrap();
        assert!(matches!(error, ServerError::Clock { .. }) && error.to_string().contains("clock"), "{error}");
    }
}
