//! A network signs, another verifies.

use crosspoint_stir::{
    Anchors, Attestation, CallFacts, CertificateError, Chain, Claim, ClaimError, Passport,
    PassportError, Signer, SignerError, TelephoneNumber,
};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, date_time_ymd,
};

const NOW: u64 = 1_795_000_000;
const ADDRESS: &str = "https://certificates.example.com/network.pem";

/// A certificate authority and a network that it trusts.
struct Network {
    root: String,
    chain: String,
    key: String,
}

/// TNAuthList with one service provider code, "1234".
const PROVIDER: &[u8] = &[0x30, 0x08, 0xA0, 0x06, 0x16, 0x04, b'1', b'2', b'3', b'4'];
/// TNAuthList with one number, "14045550100".
const ONE_NUMBER: &[u8] = b"\x30\x0F\xA2\x0D\x16\x0B14045550100";

fn network(authority: Option<&[u8]>) -> Network {
    network_of(authority, &PKCS_ECDSA_P256_SHA256, 2030)
}

fn network_of(
    authority: Option<&[u8]>,
    kind: &'static rcgen::SignatureAlgorithm,
    last_year: i32,
) -> Network {
    let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut root = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name.push(rcgen::DnType::CommonName, "STI authority");
    let root_certificate = root.self_signed(&root_key).expect("a certificate");
    let issuer = Issuer::new(root, root_key);

    let key = KeyPair::generate_for(kind).expect("a key");
    let mut leaf = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    leaf.not_before = date_time_ymd(2020, 1, 1);
    leaf.not_after = date_time_ymd(last_year, 1, 1);
    leaf.distinguished_name.push(rcgen::DnType::CommonName, "SHAKEN 1234");
    if let Some(authority) = authority {
        let oid = [1, 3, 6, 1, 5, 5, 7, 1, 26];
        let extension = CustomExtension::from_oid_content(&oid, authority.to_vec());
        leaf.custom_extensions.push(extension);
    }
    let certificate = leaf.signed_by(&key, &issuer).expect("a certificate");
    Network { root: root_certificate.pem(), chain: certificate.pem(), key: key.serialize_pem() }
}

impl Network {
    fn signer(&self) -> Signer {
        let signer = Signer::new(self.key.as_bytes(), self.chain.as_bytes(), ADDRESS);
        signer.expect("key and certificate fit")
    }

    fn anchors(&self) -> Anchors {
        Anchors::from_pem(self.root.as_bytes()).expect("a root")
    }

    fn chain(&self) -> Chain {
        Chain::from_pem(self.chain.as_bytes()).expect("a chain")
    }
}

fn number(text: &str) -> TelephoneNumber {
    TelephoneNumber::parse(text).expect("a number")
}

fn passport() -> Passport {
    Passport {
        attestation: Attestation::Full,
        orig: number("+1 404 555 0100"),
        dest: vec![number("+49 30 123456")],
        issued: NOW,
        origin: "6a0f2f0e-8a2b-4d8c-9d52-1f0b0b0b0b0b".to_owned(),
        certificate: ADDRESS.to_owned(),
    }
}

fn facts() -> CallFacts {
    CallFacts { from: vec![number("14045550100")], to: vec![number("+4930123456")] }
}

#[test]
fn a_call_that_one_network_signs_is_proved_at_another() {
    let network = network(Some(PROVIDER));
    let header = network.signer().identity(&passport());
    assert!(header.ends_with(
        ";info=<https://certificates.example.com/network.pem>;alg=ES256;ppt=\"shaken\""
    ));
    let claim = Claim::parse(header.as_bytes()).expect("it parses");
    assert_eq!(claim.certificate(), ADDRESS);
    assert_eq!(claim.passport(), &passport());
    claim.check(&facts(), NOW + 5, 60).expect("it is of this call");
    let proof = claim.verify(&network.chain(), &network.anchors(), NOW).expect("it is proved");
    assert_eq!(proof.attestation, Attestation::Full);
    assert_eq!(proof.provider.as_deref(), Some("1234"));
}

#[test]
fn the_token_is_in_the_form_of_the_rfc() {
    use base64::Engine;
    let network = network(Some(PROVIDER));
    let header = network.signer().identity(&passport());
    let parts: Vec<String> = header
        .split(';')
        .next()
        .expect("a token")
        .split('.')
        .take(2)
        .map(|part| {
            let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part);
            String::from_utf8(bytes.expect("base64url")).expect("text")
        })
        .collect();
    // RFC 8225 §9: keys in order, no blanks.
    assert_eq!(
        parts[0],
        r#"{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"https://certificates.example.com/network.pem"}"#
    );
    assert_eq!(
        parts[1],
        r#"{"attest":"A","dest":{"tn":["4930123456"]},"iat":1795000000,"orig":{"tn":"14045550100"},"origid":"6a0f2f0e-8a2b-4d8c-9d52-1f0b0b0b0b0b"}"#
    );
}

#[test]
fn a_signature_is_good_for_its_call_only_and_only_now() {
    let network = network(Some(PROVIDER));
    let claim = Claim::parse(network.signer().identity(&passport()).as_bytes()).expect("a claim");
    let other_caller = CallFacts { from: vec![number("14045550199")], ..facts() };
    let other_called = CallFacts { to: vec![number("4930999")], ..facts() };
    for (facts, now, expected) in [
        (facts(), NOW + 60, Ok(())),
        (facts(), NOW + 61, Err(ClaimError::Old(61))),
        (facts(), NOW - 61, Err(ClaimError::Early(61))),
        (other_caller, NOW, Err(ClaimError::OtherCaller)),
        (other_called, NOW, Err(ClaimError::OtherCalled)),
        (CallFacts::default(), NOW, Err(ClaimError::OtherCaller)),
    ] {
        assert_eq!(claim.check(&facts, now, 60), expected);
    }
}

#[test]
fn whatever_is_changed_in_a_token_is_noticed() {
    let network = network(Some(PROVIDER));
    let header = network.signer().identity(&passport());
    let token = header.find(';').expect("parameters");
    let (chain, anchors) = (network.chain(), network.anchors());
    for at in 0..token {
        let mut bytes = header.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let proved = Claim::parse(&bytes).and_then(|c| c.verify(&chain, &anchors, NOW));
        // The last character of a part has bits that mean nothing; the library refuses those.
        assert!(proved.is_err(), "byte {at}");
    }
}

#[test]
fn a_certificate_must_be_trusted_now_and_for_the_number() {
    let good = network(Some(PROVIDER));
    let stranger = network(Some(PROVIDER));
    let signed = |network: &Network| {
        Claim::parse(network.signer().identity(&passport()).as_bytes()).expect("a claim")
    };
    let claim = signed(&good);
    let verify = |claim: &Claim, chain: &Network, root: &Network| {
        claim.verify(&chain.chain(), &root.anchors(), NOW).map(|_| ())
    };
    assert_eq!(verify(&claim, &good, &good), Ok(()));
    assert_eq!(
        verify(&claim, &good, &stranger),
        Err(CertificateError::Untrusted.into()),
        "signed by an authority that is not trusted"
    );
    assert_eq!(verify(&claim, &stranger, &stranger), Err(ClaimError::Signature));

    let expired = network_of(Some(PROVIDER), &PKCS_ECDSA_P256_SHA256, 2024);
    assert_eq!(verify(&signed(&expired), &expired, &expired), Err(CertificateError::NotNow.into()));
    let nobody = network(None);
    assert_eq!(
        verify(&signed(&nobody), &nobody, &nobody),
        Err(CertificateError::NoAuthority.into()),
        "a web server's certificate signs no calls"
    );
    let one = network(Some(ONE_NUMBER));
    assert_eq!(verify(&signed(&one), &one, &one), Ok(()));
    let other = Passport { orig: number("14045550101"), ..passport() };
    let other = Claim::parse(one.signer().identity(&other).as_bytes()).expect("a claim");
    assert_eq!(verify(&other, &one, &one), Err(CertificateError::OtherNumber.into()));
}

#[test]
fn keys_that_cannot_sign_are_refused_at_the_start() {
    let good = network(Some(PROVIDER));
    let other = network(Some(PROVIDER));
    let large = network_of(Some(PROVIDER), &PKCS_ECDSA_P384_SHA384, 2030);
    let new = |key: &str, chain: &str, address| {
        Signer::new(key.as_bytes(), chain.as_bytes(), address).map(|_| ())
    };
    assert!(matches!(new(&good.key, &other.chain, ADDRESS), Err(SignerError::OtherCertificate)));
    assert!(matches!(new(&large.key, &large.chain, ADDRESS), Err(SignerError::NotP256)));
    assert!(matches!(new("", &good.chain, ADDRESS), Err(SignerError::NoKey)));
    assert!(matches!(new(&good.key, "", ADDRESS), Err(SignerError::Certificate(_))));
    let plain = "http://certificates.example.com/x";
    assert!(matches!(new(&good.key, &good.chain, plain), Err(SignerError::NotHttps)));
    let smuggled = "https://certificates.example.com/x\r\nVia: y";
    assert!(matches!(new(&good.key, &good.chain, smuggled), Err(SignerError::NotHttps)));
    assert!(!format!("{:?}", good.signer()).contains("PRIVATE"));
}

#[test]
fn headers_that_are_no_identity_say_why() {
    let network = network(Some(PROVIDER));
    let header = network.signer().identity(&passport());
    let (token, _) = header.split_once(';').expect("parameters");
    let long = "x".repeat(9000);
    let elsewhere = format!("{token};info=<https://evil.example/x.pem>;alg=ES256;ppt=shaken");
    let no_info = token.to_owned();
    let other_alg = format!("{token};info=<{ADDRESS}>;alg=none");
    let div = format!("{token};info=<{ADDRESS}>;ppt=div");
    let compact = format!("..c2ln;info=<{ADDRESS}>");
    for (header, expected) in [
        ("", ClaimError::Passport(PassportError::Form)),
        ("a.b", ClaimError::Passport(PassportError::Form)),
        ("!.!.!", ClaimError::Passport(PassportError::Form)),
        ("e30.e30.e30;info=<x>", ClaimError::Passport(PassportError::Algorithm)),
        ("bnVsbA.bnVsbA.e30", ClaimError::Passport(PassportError::Json)),
        (compact.as_str(), ClaimError::Passport(PassportError::Json)),
        (long.as_str(), ClaimError::TooLong),
        (elsewhere.as_str(), ClaimError::Parameter("info")),
        (no_info.as_str(), ClaimError::Parameter("info")),
        (other_alg.as_str(), ClaimError::Parameter("alg")),
        (div.as_str(), ClaimError::Parameter("ppt")),
    ] {
        let found = Claim::parse(header.as_bytes()).err();
        assert_eq!(found, Some(expected), "{}", &header[..header.len().min(60)]);
    }
    // As others write it: no quotes, other order, blanks.
    let loose = format!("{token} ; ppt=shaken; alg=ES256;info=<{ADDRESS}>");
    Claim::parse(loose.as_bytes()).expect("it parses");
    assert!(Claim::parse(&[0xFF, 0xFE]).is_err());
}

#[test]
fn chains_are_bounded() {
    let network = network(Some(PROVIDER));
    let many = network.chain.repeat(9);
    assert_eq!(Chain::from_pem(many.as_bytes()).err(), Some(CertificateError::TooLarge));
    let large = vec![b'\n'; 70_000];
    assert_eq!(Chain::from_pem(&large).err(), Some(CertificateError::TooLarge));
    assert_eq!(Chain::from_pem(b"").err(), Some(CertificateError::NoCertificate));
    assert_eq!(Anchors::from_pem(b"").err(), Some(CertificateError::NoCertificate));
}
