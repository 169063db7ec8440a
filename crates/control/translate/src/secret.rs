//! Secrets that the control plane itself serves (SDS).

use portolan_names::names;

use crate::{context::Context, pb::*};

/// Validator that has roots per trust domain.
const SPIFFE_VALIDATOR: &str = "envoy.tls.cert_validator.spiffe";

fn inline(pem: &str) -> Option<core::DataSource> {
    Some(core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(pem.to_owned())),
        ..Default::default()
    })
}

/// `ROOTCA` for the gateways that talk to peers with roots of their own: a validator with the roots of every trust
/// domain, ours first (docs/reference/federation.md). `None` for everybody else: their agent knows the mesh's root.
pub(crate) fn root_ca(ctx: &Context<'_>) -> Option<tls::Secret> {
    if !ctx.model.gets_trust_bundles(ctx.node) {
        return None;
    }
    let (mesh, roots, trust) = (ctx.mesh(), ctx.model.root_certificates(), ctx.model.trust());
    if roots.is_empty() {
        return None;
    }
    let own = mesh.trust_domains().map(|td| (td, &*roots));
    let peers = trust
        .bundles
        .iter()
        .map(|(td, pem)| (td.as_str(), pem.as_str()))
        .filter(|(td, _)| !mesh.trust_domains().any(|own| own == *td));
    let trust_domains = own
        .chain(peers)
        .map(|(name, pem)| tls::spiffe_cert_validator_config::TrustDomain {
            name: name.to_owned(),
            trust_bundle: inline(pem),
            ..Default::default()
        })
        .collect();
    let validator = tls::SpiffeCertValidatorConfig { trust_domains, ..Default::default() };
    Some(tls::Secret {
        name: names::SDS_ROOT_CA.to_owned(),
        r#type: Some(tls::secret::Type::ValidationContext(tls::CertificateValidationContext {
            custom_validator_config: Some(core::TypedExtensionConfig {
                name: SPIFFE_VALIDATOR.to_owned(),
                typed_config: Some(any(&validator)),
            }),
            ..Default::default()
        })),
    })
}
