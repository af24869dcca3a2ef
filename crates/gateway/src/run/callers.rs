//! Looks at the signatures of callers: fetches the certificate they name, and judges.

use std::sync::Arc;
use std::time::Duration;

use crosspoint_base::WallClock;
use crosspoint_connectors::sip_ua::{Signing, StirConfig, Unproved, Verifying};
use crosspoint_net::{Documents, DocumentsConfig, Resolver};
use crosspoint_stir::{Anchors, Chain, Claim, ClaimError, MAX_CHAIN, Proof};

use crate::cli::unix_now;
use crate::config::Stir;
use crate::tls;

/// Whom to trust, and where certificates come from.
#[derive(Debug, Clone)]
pub(super) struct Callers {
    anchors: Arc<Anchors>,
    documents: Documents,
}

impl Callers {
    /// `None` when nobody wants to know, or the system trusts no web server at all.
    pub(super) fn new(stir: Option<&Stir>, names: Arc<Resolver>) -> Option<Self> {
        let stir = stir?;
        let anchors = Arc::new(stir.anchors.clone()?);
        let Some(tls) = tls::client_config() else {
            tracing::error!("no certificate of a caller can be fetched: the system has no roots");
            return None;
        };
        let config = DocumentsConfig {
            tls,
            hosts: stir.hosts.clone(),
            allow: stir.allow.clone(),
            max_bytes: MAX_CHAIN,
            patience: PATIENCE,
            user_agent: concat!("Crosspoint/", env!("CARGO_PKG_VERSION")),
        };
        Some(Self { anchors, documents: Documents::new(config, names) })
    }

    pub(super) async fn prove(&self, claim: &Claim) -> Result<Proof, Unproved> {
        let document = self.documents.get(claim.certificate()).await;
        let document = document.map_err(|error| Unproved::NoCertificate(error.to_string()))?;
        let chain = Chain::from_pem(&document).map_err(ClaimError::from)?;
        let now = u64::try_from(unix_now()).unwrap_or(0);
        Ok(claim.verify(&chain, &self.anchors, now)?)
    }
}

/// What the node does about signatures. `origin` names this process to those who trace a call.
pub(super) fn node_config(stir: &Stir, clock: WallClock, origin: String) -> StirConfig {
    let signing =
        stir.signer.clone().map(|signer| Signing { signer, attestation: stir.attestation, origin });
    let verifying = stir
        .anchors
        .as_ref()
        .map(|_| Verifying { is_demanded: stir.is_demanded, freshness: stir.freshness });
    let trunks = stir.trunks.iter().map(|name| name.as_str().into()).collect();
    StirConfig { signing, verifying, trunks, clock }
}

/// The node waits five seconds.
const PATIENCE: Duration = Duration::from_secs(4);
