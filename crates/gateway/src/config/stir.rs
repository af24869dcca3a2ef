//! `[stir]`: signatures of who calls.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crosspoint_stir::{Anchors, Attestation, Signer};

use super::Stir;
use super::reader::Section;
use super::sections::file_beside;

pub(super) fn read(section: &Section<'_>, folder: &Path) -> Stir {
    let words = |key| -> Vec<String> {
        let found = section.strings(key).unwrap_or_default();
        found.into_iter().map(|word| word.value).collect()
    };
    let levels = [("full", Attestation::Full), ("partial", Attestation::Partial)];
    let attestation = section.choice("attestation", &levels);
    let ways = [("off", Verify::Off), ("report", Verify::Report), ("demand", Verify::Demand)];
    let verify = section.choice("verify", &ways).map_or(Verify::Off, |found| found.value);
    let anchors = anchors(section, folder, verify);
    let day = Duration::from_secs(24 * 3600);
    Stir {
        signer: signer(section, folder),
        attestation: attestation.map_or(Attestation::Full, |found| found.value),
        anchors: anchors.filter(|_| verify != Verify::Off),
        is_demanded: verify == Verify::Demand,
        freshness: section
            .duration("freshness", Duration::from_secs(1)..day)
            .map_or(Duration::from_secs(60), |found| found.value),
        hosts: words("hosts"),
        allow: super::turn::networks(section),
        trunks: words("trunks"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verify {
    Off,
    Report,
    Demand,
}

fn signer(section: &Section<'_>, folder: &Path) -> Option<Arc<Signer>> {
    let key = section.string("key");
    let chain = section.string("certificate");
    let address = section.string("certificate_url");
    if key.is_none() && chain.is_none() && address.is_none() {
        return None;
    }
    let key = section.required("key", "key = \"shaken.key\"", key)?;
    let chain = section.required("certificate", "certificate = \"shaken.pem\"", chain)?;
    let example = "certificate_url = \"https://certificates.example.com/shaken.pem\"";
    let address = section.required("certificate_url", example, address)?;
    let (_, key_text) = file_beside(section, folder, &key)?;
    let (_, chain_text) = file_beside(section, folder, &chain)?;
    match Signer::new(key_text.as_bytes(), chain_text.as_bytes(), &address.value) {
        Ok(signer) => Some(Arc::new(signer)),
        Err(error) => {
            let remedy = "it takes a P-256 key, the chain of its certificate, and the https:// \
                          address where others get that chain";
            section.document().complain_about(&key, error.to_string(), remedy);
            None
        }
    }
}

fn anchors(section: &Section<'_>, folder: &Path, verify: Verify) -> Option<Anchors> {
    let file = section.string("authorities");
    if verify == Verify::Off {
        return None;
    }
    let file = section.required("authorities", "authorities = \"sti-authorities.pem\"", file)?;
    let (_, text) = file_beside(section, folder, &file)?;
    match Anchors::from_pem(text.as_bytes()) {
        Ok(anchors) => Some(anchors),
        Err(error) => {
            let remedy = "write the certificates of the authorities that you trust, in PEM";
            section.document().complain_about(&file, error.to_string(), remedy);
            None
        }
    }
}
