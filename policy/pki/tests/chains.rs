//! Chains made on the spot, each with one thing wrong.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use adit_core::{Failure, FailureCode, Identity, WallTime};
use adit_pki::{
    PkiError, TrustAnchors, is_authority, key_hash, leads_to, suits, summarize, verify_client, verify_server,
};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Eku,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
};

/// 2027-01-15.
const NOW: WallTime = WallTime(1_800_000_000);

struct Ca {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn named(cn: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, cn);
    params
}

fn ca_params(cn: &str) -> CertificateParams {
    let mut params = named(cn);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn root(cn: &str) -> Ca {
    root_of(ca_params(cn))
}

fn root_of(params: CertificateParams) -> Ca {
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Ca { der, issuer: Issuer::new(params, key) }
}

fn sub(parent: &Ca, params: CertificateParams) -> Ca {
    let key = KeyPair::generate().unwrap();
    let der = params.signed_by(&key, &parent.issuer).unwrap().der().to_vec();
    Ca { der, issuer: Issuer::new(params, key) }
}

fn leaf(parent: &Ca, params: &CertificateParams) -> Vec<u8> {
    params.signed_by(&KeyPair::generate().unwrap(), &parent.issuer).unwrap().der().to_vec()
}

fn server(names: &[SanType]) -> CertificateParams {
    let mut params = named("gateway");
    params.subject_alt_names = names.to_vec();
    params.extended_key_usages = vec![Eku::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

fn trust(ca: &Ca) -> TrustAnchors {
    TrustAnchors::from_content(&ca.der).unwrap()
}

fn check(ca: &Ca, params: &CertificateParams, name: &str) -> Result<(), PkiError> {
    verify_server(&[leaf(ca, params)], &trust(ca), &id(name), NOW).map(|_| ())
}

fn code(result: Result<(), PkiError>) -> FailureCode {
    Failure::from(result.unwrap_err()).code
}

#[test]
fn a_good_server() {
    let ca = root("Corp CA");
    assert_eq!(check(&ca, &server(&[dns("vpn.example.com")]), "vpn.example.com"), Ok(()));
    assert_eq!(check(&ca, &server(&[dns("*.example.com")]), "vpn.example.com"), Ok(()));
    assert_eq!(check(&ca, &server(&[SanType::IpAddress("192.0.2.1".parse().unwrap())]), "192.0.2.1"), Ok(()));
    assert_eq!(
        check(&ca, &server(&[SanType::IpAddress("2001:db8::1".parse().unwrap())]), "2001:db8::1"),
        Ok(())
    );
    assert_eq!(check(&ca, &server(&[dns("192.0.2.1")]), "192.0.2.1"), Ok(()));
    let mail = SanType::Rfc822Name("vpn@example.com".try_into().unwrap());
    assert_eq!(check(&ca, &server(&[mail]), "vpn@EXAMPLE.com"), Ok(()));
}

#[test]
fn untrusted_names_the_issuer_that_is_missing() {
    let (ca, other) = (root("Corp CA"), root("Other CA"));
    let chain = [leaf(&ca, &server(&[dns("vpn.example.com")]))];
    let error = verify_server(&chain, &trust(&other), &id("vpn.example.com"), NOW).unwrap_err();
    assert_eq!(error, PkiError::Untrusted { subject: "CN=gateway".into(), issuer: "CN=Corp CA".into() });
    let failure = Failure::from(error);
    assert_eq!(failure.code, FailureCode::CertificateUntrusted);
    assert!(failure.hint.unwrap().contains("ca = \""));
    assert!(verify_server(&chain, &TrustAnchors::new(), &id("vpn.example.com"), NOW).is_err());
}

#[test]
fn an_authority_of_the_same_name_and_another_key_is_no_authority() {
    let (ca, imposter) = (root("Corp CA"), root("Corp CA"));
    let chain = [leaf(&imposter, &server(&[dns("vpn.example.com")]))];
    let error = verify_server(&chain, &trust(&ca), &id("vpn.example.com"), NOW).unwrap_err();
    assert!(matches!(error, PkiError::Forged { .. }), "{error:?}");
    // Nor does it help to send it.
    let chain = [chain[0].clone(), imposter.der.clone()];
    assert!(verify_server(&chain, &trust(&ca), &id("vpn.example.com"), NOW).is_err());
}

#[test]
fn a_wrong_name_is_refused_and_shown() {
    let ca = root("Corp CA");
    let params = server(&[dns("a.example.com"), dns("evil")]);
    let error = check(&ca, &params, "vpn.example.com").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the certificate is not for vpn.example.com: it is for a.example.com, evil"
    );
    assert_eq!(code(Err(error)), FailureCode::CertificateName);
    assert!(check(&ca, &server(&[SanType::IpAddress("192.0.2.1".parse().unwrap())]), "192.0.2.2").is_err());
    assert!(check(&ca, &server(&[dns("vpn.example.com")]), "keyid:vpn.example.com").is_err());
    let many: Vec<SanType> = (0..20).map(|n| dns(&format!("h{n}.example.com"))).collect();
    assert!(check(&ca, &server(&many), "x.example.org").unwrap_err().to_string().ends_with("and 12 more"));
}

#[test]
fn a_terminal_cannot_be_written_to_by_a_name() {
    let ca = root("Corp CA");
    let mut params = server(&[]);
    params.distinguished_name.push(DnType::CommonName, "\u{1b}[2J\u{202e}evil");
    let text = check(&ca, &params, "vpn.example.com").unwrap_err().to_string();
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
    let subject = summarize(&leaf(&ca, &params)).unwrap().subject;
    assert!(
        !subject.contains('\u{1b}') && !subject.contains('\u{202e}') && subject.contains("evil"),
        "{subject:?}"
    );
}

#[test]
fn a_common_name_counts_only_without_a_subject_alt_name() {
    let ca = root("Corp CA");
    let with_cn = |san: &[SanType]| {
        let mut params = server(san);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "vpn.example.com");
        params
    };
    assert_eq!(check(&ca, &with_cn(&[]), "vpn.example.com"), Ok(()));
    assert!(check(&ca, &with_cn(&[]), "other.example.com").is_err());
    assert_eq!(
        code(check(&ca, &with_cn(&[dns("a.example.com")]), "vpn.example.com")),
        FailureCode::CertificateName
    );
    let mail = SanType::Rfc822Name("a@example.com".try_into().unwrap());
    assert!(check(&ca, &with_cn(&[mail]), "vpn.example.com").is_err());
}

#[test]
fn dates_of_the_leaf_an_intermediate_and_the_authority() {
    let past = |mut p: CertificateParams| {
        (p.not_before, p.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        p
    };
    let future = |mut p: CertificateParams| {
        (p.not_before, p.not_after) = (date_time_ymd(2040, 1, 1), date_time_ymd(2041, 1, 1));
        p
    };
    let good = server(&[dns("vpn.example.com")]);
    let ca = root("Corp CA");
    let error = check(&ca, &past(good.clone()), "vpn.example.com").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the certificate of CN=gateway expired on 2021-01-01 00:00 UTC; it is 2027-01-15 08:00 UTC here"
    );
    assert_eq!(code(Err(error)), FailureCode::CertificateExpired);
    let error = check(&ca, &future(good.clone()), "vpn.example.com").unwrap_err();
    assert!(matches!(error, PkiError::NotYetValid { .. }), "{error:?}");
    let middle = sub(&ca, past(ca_params("Middle")));
    let chain = [leaf(&middle, &good), middle.der.clone()];
    let error = verify_server(&chain, &trust(&ca), &id("vpn.example.com"), NOW).unwrap_err();
    assert!(error.to_string().starts_with("the certificate of CN=Middle expired"), "{error}");
    let old = root_of(past(ca_params("Old CA")));
    let error = check(&old, &good, "vpn.example.com").unwrap_err();
    assert!(error.to_string().starts_with("the certificate of CN=Old CA expired"), "{error}");
}

#[test]
fn dates_include_their_last_second() {
    let ca = root("Corp CA");
    let mut params = server(&[dns("vpn.example.com")]);
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
    let chain = [leaf(&ca, &params)];
    let at = |t| verify_server(&chain, &trust(&ca), &id("vpn.example.com"), WallTime(t)).is_ok();
    let (first, last) = (1_767_225_600, 1_798_761_600);
    assert_eq!([at(first - 1), at(first), at(last), at(last + 1)], [false, true, true, false]);
}

#[test]
fn a_server_needs_server_auth() {
    let ca = root("Corp CA");
    let with = |eku: &[Eku]| {
        let mut params = server(&[dns("vpn.example.com")]);
        params.extended_key_usages = eku.to_vec();
        check(&ca, &params, "vpn.example.com")
    };
    let ipsec = Eku::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17]);
    let intermediate = Eku::Other(vec![1, 3, 6, 1, 5, 5, 8, 2, 2]);
    assert_eq!(with(&[intermediate.clone(), Eku::ServerAuth]), Ok(()));
    for bad in
        [vec![], vec![Eku::ClientAuth], vec![Eku::Any], vec![ipsec.clone()], vec![intermediate.clone()]]
    {
        let error = with(&bad).unwrap_err();
        assert!(matches!(error, PkiError::Usage { .. }), "{bad:?}: {error:?}");
        assert_eq!(code(Err(error)), FailureCode::CertificateUnusable);
    }
}

#[test]
fn an_intermediate_may_limit_what_it_issues() {
    let ca = root("Corp CA");
    for (eku, good) in [(vec![Eku::ServerAuth], true), (vec![Eku::Any], true), (vec![Eku::ClientAuth], false)]
    {
        let mut params = ca_params("Middle");
        params.extended_key_usages = eku;
        let middle = sub(&ca, params);
        let chain = [leaf(&middle, &server(&[dns("vpn.example.com")])), middle.der.clone()];
        let result = verify_server(&chain, &trust(&ca), &id("vpn.example.com"), NOW).map(|_| ());
        match result {
            Ok(()) => assert!(good),
            Err(PkiError::Usage { subject, .. }) => assert!(!good && subject == "CN=Middle", "{subject}"),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_client_needs_client_auth_or_no_restriction() {
    let ca = root("Corp CA");
    let with = |eku: &[Eku], name: &str| {
        let mut params = server(&[dns("*.example.com"), dns("laptop.example.com")]);
        params.extended_key_usages = eku.to_vec();
        verify_client(&[leaf(&ca, &params)], &trust(&ca), &id(name), NOW).map(|_| ())
    };
    let ipsec = Eku::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17]);
    for good in [vec![], vec![Eku::ClientAuth], vec![Eku::Any], vec![Eku::ServerAuth, ipsec]] {
        assert_eq!(with(&good, "laptop.example.com"), Ok(()), "{good:?}");
    }
    assert!(matches!(with(&[Eku::ServerAuth], "laptop.example.com"), Err(PkiError::Usage { .. })));
    assert!(matches!(with(&[], "desk.example.com"), Err(PkiError::Name { .. })));
}

#[test]
fn key_usage_must_allow_signatures() {
    let ca = root("Corp CA");
    let mut params = server(&[dns("vpn.example.com")]);
    params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    assert!(matches!(check(&ca, &params, "vpn.example.com"), Err(PkiError::Usage { .. })));
    params.key_usages = vec![KeyUsagePurpose::ContentCommitment];
    assert_eq!(check(&ca, &params, "vpn.example.com"), Ok(()));
}

#[test]
fn intermediates_in_any_order_but_none_missing() {
    let ca = root("Corp CA");
    let one = sub(&ca, ca_params("One"));
    let two = sub(&one, ca_params("Two"));
    let stranger = root("Stranger");
    let last = leaf(&two, &server(&[dns("vpn.example.com")]));
    let run = |others: &[&Vec<u8>]| {
        let chain: Vec<Vec<u8>> = std::iter::once(&last).chain(others.iter().copied()).cloned().collect();
        verify_server(&chain, &trust(&ca), &id("vpn.example.com"), NOW).map(|_| ())
    };
    assert_eq!(run(&[&two.der, &one.der]), Ok(()));
    assert_eq!(run(&[&one.der, &stranger.der, &two.der, &ca.der]), Ok(()));
    assert_eq!(run(&[&vec![0x30, 0], &two.der, &one.der]), Ok(()));
    let missing = |issuer: &str, subject: &str| {
        Err(PkiError::Untrusted { subject: format!("CN={subject}"), issuer: format!("CN={issuer}") })
    };
    assert_eq!(run(&[&two.der]), missing("One", "Two"));
    assert_eq!(run(&[&one.der]), missing("Two", "gateway"));
}

#[test]
fn only_authorities_issue() {
    let ca = root("Corp CA");
    let mut plain = server(&[dns("plain.example.com")]);
    plain.is_ca = IsCa::ExplicitNoCa;
    let no_ca = sub(&ca, plain);
    let mut unsigned = ca_params("No signer");
    unsigned.key_usages = vec![KeyUsagePurpose::CrlSign];
    let no_signer = sub(&ca, unsigned);
    for bad in [&no_ca, &no_signer] {
        let chain = [leaf(bad, &server(&[dns("vpn.example.com")])), bad.der.clone()];
        let error = verify_server(&chain, &trust(&ca), &id("vpn.example.com"), NOW).unwrap_err();
        assert!(matches!(error, PkiError::Chain { .. }), "{error:?}");
    }
    // Pinned, it is good for itself and for nothing that it issues.
    let chain = [leaf(&no_ca, &server(&[dns("vpn.example.com")])), no_ca.der.clone()];
    assert!(verify_server(&chain, &trust(&no_ca), &id("vpn.example.com"), NOW).is_err());
    assert!(
        verify_server(core::slice::from_ref(&no_ca.der), &trust(&no_ca), &id("plain.example.com"), NOW)
            .is_ok()
    );
}

#[test]
fn path_length_and_name_constraints() {
    let mut params = ca_params("Short CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca = root("Corp CA");
    let short = sub(&ca, params);
    let below = sub(&short, ca_params("Below"));
    let chain = [leaf(&below, &server(&[dns("vpn.example.com")])), below.der.clone(), short.der.clone()];
    let error = verify_server(&chain, &trust(&ca), &id("vpn.example.com"), NOW).unwrap_err();
    assert!(error.to_string().ends_with("path length is exceeded"), "{error}");

    let mut params = ca_params("Example only");
    let permitted_subtrees = vec![GeneralSubtree::DnsName("example.com".into())];
    params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
    let limited = sub(&ca, params.clone());
    for (limited, anchors) in [(&limited, trust(&ca)), (&root_of(params), TrustAnchors::new())] {
        let anchors = if anchors.is_empty() { trust(limited) } else { anchors };
        let run = |params: &CertificateParams, name: &str| {
            verify_server(&[leaf(limited, params), limited.der.clone()], &anchors, &id(name), NOW).map(|_| ())
        };
        assert_eq!(run(&server(&[dns("vpn.example.com")]), "vpn.example.com"), Ok(()));
        assert!(matches!(
            run(&server(&[dns("vpn.example.org")]), "vpn.example.org"),
            Err(PkiError::Chain { .. })
        ));
        // A common name would evade the constraint; so would an address in a dNSName.
        let mut cn = server(&[]);
        cn.distinguished_name.push(DnType::CommonName, "vpn.example.org");
        assert!(run(&cn, "vpn.example.org").is_err());
        assert!(run(&server(&[dns("vpn.example.com"), dns("192.0.2.1")]), "192.0.2.1").is_err());
    }
}

#[test]
fn a_self_signed_server_works_when_it_is_pinned() {
    let mut params = server(&[dns("vpn.example.com")]);
    for ca in [false, true] {
        params.is_ca = if ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
        let own = root_of(params.clone());
        let run = |anchors: &TrustAnchors, name: &str, now| {
            verify_server(std::slice::from_ref(&own.der), anchors, &id(name), now).map(|_| ())
        };
        assert_eq!(run(&trust(&own), "vpn.example.com", NOW), Ok(()));
        assert!(matches!(run(&trust(&own), "b.example.com", NOW), Err(PkiError::Name { .. })));
        assert!(matches!(
            run(&trust(&own), "vpn.example.com", WallTime(0)),
            Err(PkiError::NotYetValid { .. })
        ));
        let stranger = trust(&root("Other"));
        assert!(run(&stranger, "vpn.example.com", NOW).is_err());
    }
    params.extended_key_usages = vec![];
    let own = root_of(params.clone());
    assert!(
        verify_server(core::slice::from_ref(&own.der), &trust(&own), &id("vpn.example.com"), NOW).is_ok()
    );
    params.extended_key_usages = vec![Eku::ClientAuth];
    let own = root_of(params);
    assert!(
        verify_server(core::slice::from_ref(&own.der), &trust(&own), &id("vpn.example.com"), NOW).is_err()
    );
}

#[test]
fn a_distinguished_name_must_be_exactly_the_subject() {
    let ca = root("Corp CA");
    let der = leaf(&ca, &server(&[dns("vpn.example.com")]));
    // SEQUENCE { SET { SEQUENCE { commonName, UTF8String } } }
    let dn = |cn: &str| {
        let n = u8::try_from(cn.len()).unwrap();
        let mut name = vec![0x30, n + 11, 0x31, n + 9, 0x30, n + 7, 6, 3, 0x55, 4, 3, 0x0c, n];
        name.extend_from_slice(cn.as_bytes());
        Identity::DistinguishedName(name)
    };
    let run = |name: &Identity| verify_server(std::slice::from_ref(&der), &trust(&ca), name, NOW).map(|_| ());
    assert_eq!(run(&dn("gateway")), Ok(()));
    assert!(matches!(run(&dn("Gateway")), Err(PkiError::Name { .. })));
    assert!(matches!(run(&dn("Corp CA")), Err(PkiError::Name { .. })));
    assert!(run(&Identity::DistinguishedName(vec![])).is_err());
    assert!(run(&Identity::DistinguishedName(vec![0x30, 0])).is_err());
}

#[test]
fn limits_on_what_a_peer_sends() {
    let ca = root("Corp CA");
    let der = leaf(&ca, &server(&[dns("vpn.example.com")]));
    let run = |chain: &[Vec<u8>]| verify_server(chain, &trust(&ca), &id("vpn.example.com"), NOW).map(|_| ());
    assert!(matches!(run(&[]), Err(PkiError::Malformed(_))));
    assert!(matches!(run(&vec![der.clone(); 11]), Err(PkiError::Malformed(_))));
    assert!(matches!(run(&[vec![0x30; (64 << 10) + 1]]), Err(PkiError::Malformed(_))));
    let crowd: Vec<Vec<u8>> = std::iter::once(der).chain((0..4).map(|_| root("Same").der)).collect();
    assert!(matches!(run(&crowd), Err(PkiError::Malformed(_))));
}

#[test]
fn requests_name_keys_and_choose_certificates() {
    let (ca, other) = (root("Corp CA"), root("Other CA"));
    let middle = sub(&ca, ca_params("Middle"));
    let chains = [
        vec![leaf(&other, &server(&[dns("a.example.com")]))],
        vec![leaf(&middle, &server(&[dns("b.example.com")])), middle.der.clone()],
    ];
    let anchors = trust(&ca);
    assert_eq!(anchors.key_hashes(), [key_hash(&ca.der).unwrap()]);
    let hash = |ca: &Ca| key_hash(&ca.der).unwrap();
    let mut both = [hash(&middle), hash(&ca)];
    both.sort_unstable();
    assert_eq!(leads_to(&chains[1], &anchors), both);
    assert_eq!(leads_to(&chains[1], &TrustAnchors::new()), [hash(&middle)]);
    assert_eq!(leads_to(&chains[0], &trust(&other)), [hash(&other)]);
    assert_eq!(leads_to(&chains[0], &anchors), [[0; 20]; 0], "another authority's");
}

#[test]
fn of_ours_the_valid_ones_suit_and_then_those_for_ike() {
    let ca = root("Corp CA");
    let with = |purposes: &[Eku]| {
        let mut params = server(&[dns("vpn.example.com")]);
        params.extended_key_usages = purposes.to_vec();
        params
    };
    let intermediate = || Eku::Other(vec![1, 3, 6, 1, 5, 5, 8, 2, 2]);
    let ike = || Eku::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17]);
    let how = |params: &CertificateParams, server| {
        let suits = suits(&leaf(&ca, params), server, NOW);
        (suits.valid, suits.for_ike)
    };
    assert_eq!(how(&with(&[Eku::ServerAuth]), true), (true, false));
    assert_eq!(how(&with(&[Eku::ServerAuth]), false), (false, false));
    assert_eq!(how(&with(&[Eku::ServerAuth, intermediate()]), true), (true, true));
    assert_eq!(how(&with(&[Eku::ServerAuth, ike()]), true), (true, true));
    assert_eq!(how(&with(&[intermediate()]), true), (false, true), "its peers want serverAuth");
    assert_eq!(how(&with(&[intermediate()]), false), (true, true));
    let mut old = with(&[Eku::ServerAuth, intermediate()]);
    old.not_after = date_time_ymd(2026, 1, 1);
    assert_eq!(how(&old, true), (false, true));
    assert!(suits(b"no certificate", true, NOW) < suits(&leaf(&ca, &old), true, NOW));
    assert!(suits(&leaf(&ca, &old), true, NOW) < suits(&leaf(&ca, &with(&[Eku::ServerAuth])), true, NOW));
    assert!(is_authority(&ca.der) && !is_authority(&leaf(&ca, &old)));
}

#[test]
fn a_summary_shows_what_matters() {
    let ca = root("Corp CA");
    let s = summarize(&leaf(
        &ca,
        &server(&[dns("vpn.example.com"), SanType::IpAddress("192.0.2.1".parse().unwrap())]),
    ))
    .unwrap();
    assert_eq!((s.subject.as_str(), s.issuer.as_str()), ("CN=gateway", "CN=Corp CA"));
    assert_eq!(s.names, ["vpn.example.com", "192.0.2.1"]);
    assert!(s.not_before < NOW && NOW < s.not_after);
}

/// Seeds that failed are kept beside this file.
fn seeds() -> Option<Box<dyn proptest::test_runner::FailurePersistence>> {
    Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("regressions")))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: seeds(), ..ProptestConfig::default() })]

    #[test]
    fn bytes_that_are_no_certificate_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(verify_server(core::slice::from_ref(&bytes), &TrustAnchors::new(), &id("a.b"), NOW).is_err());
        prop_assert!(TrustAnchors::from_content(&bytes).is_err());
        prop_assert!(summarize(&bytes).is_err());
    }
}

/// Every byte of a certificate changed, and every length that it can be cut to: never accepted, never a
/// panic.
#[test]
fn a_damaged_certificate_is_never_accepted() {
    let ca = root("Corp CA");
    let good = leaf(&ca, &server(&[dns("vpn.example.com")]));
    let anchors = trust(&ca);
    let run = |der: Vec<u8>| verify_server(&[der], &anchors, &id("vpn.example.com"), NOW).is_ok();
    assert!(run(good.clone()));
    for at in 0..good.len() {
        assert!(!run(good[..at].to_vec()), "cut at {at}");
        for bit in [0x01, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= bit;
            assert!(!run(bad), "byte {at}");
        }
    }
}
