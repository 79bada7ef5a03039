//! The vectors of the RFCs, and agreement with other implementations.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use adit_core::Secret;
use adit_crypto::Provider;
use adit_isakmp::algorithm::{Encryption, Integrity, KeMethod, KeyBits, Prf};
use adit_isakmp::crypto::{CryptoError, CryptoProvider, SkCipher};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|p| u8::from_str_radix(core::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
}

fn secret(text: &str) -> Secret {
    Secret::new(hex(text))
}

fn prf(prf: Prf, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0; prf.output_len()];
    Provider::new().prf(prf, key, parts, &mut out);
    out
}

#[test]
fn hmac_as_in_rfc_4231_and_rfc_2202() {
    let key = [0x0b; 20];
    for (algorithm, expected) in [
        (Prf::HmacSha1, "b617318655057264e28bc0b6fb378c8ef146be00"),
        (Prf::HmacSha256, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            Prf::HmacSha384,
            "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
        ),
        (
            Prf::HmacSha512,
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde\
             daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
        ),
    ] {
        assert_eq!(prf(algorithm, &key, &[b"Hi There"]), hex(expected), "{algorithm}");
        assert_eq!(prf(algorithm, &key, &[b"Hi", b"", b" There"]), hex(expected), "{algorithm} in parts");
    }
    let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
    assert_eq!(
        prf(Prf::HmacSha256, &[0xaa; 131], &[long]),
        hex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
    );
}

#[test]
fn sha1_as_in_rfc_3174() {
    let expected = hex("a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_eq!(Provider::new().sha1(&[b"abc"]).to_vec(), expected);
    assert_eq!(Provider::new().sha1(&[b"a", b"bc"]).to_vec(), expected);
}

fn cbc(bits: KeyBits, key: &str, integrity: Integrity) -> Box<dyn SkCipher> {
    let integrity_key = Secret::new(vec![7; integrity.key_len()]);
    Provider::new().sk_cipher(Encryption::AesCbc(bits), Some(integrity), secret(key), integrity_key).unwrap()
}

#[test]
fn aes_cbc_as_in_rfc_3602() {
    for (key, iv, plain, sealed) in [
        (
            "06a9214036b8a15b512e03d534120006",
            "3dafba429d9eb430b422da802c9fac41",
            "53696e676c6520626c6f636b206d7367",
            "e353779c1079aeb82708942dbe77181a",
        ),
        (
            "c286696d887c9aa0611bbb3e2025a45a",
            "562e17996d093d28ddb3ba695a2e6f58",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
        ),
    ] {
        let cipher = cbc(KeyBits::B128, key, Integrity::HmacSha256_128);
        let mut message = [b"head".to_vec(), hex(iv), hex(plain), vec![0; 16]].concat();
        cipher.seal(&mut message, 4).unwrap();
        let end = message.len() - 16;
        assert_eq!(message[20..end], hex(sealed));
        // The ICV is the HMAC, cut, of all before it.
        assert_eq!(message[end..], prf(Prf::HmacSha256, &[7; 32], &[&message[..end]])[..16]);
        assert_eq!(cipher.open(&mut message, 4), Ok(20..end));
        assert_eq!(message[20..end], hex(plain));
    }
}

/// NIST's example of TDES in CBC mode (Cryptographic Standards and Guidelines, example values).
#[test]
fn triple_des_cbc_as_nist_gives_it() {
    let plain = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51";
    let sealed = "2079c3d53aa763e193b79e2569ab5262516570481f25b50f73c0bda85c8e0da7";
    let integrity = Integrity::HmacSha1_96;
    let cipher = Provider::new()
        .sk_cipher(
            Encryption::TripleDesCbc,
            Some(integrity),
            secret("0123456789abcdef23456789abcdef01456789abcdef0123"),
            Secret::new(vec![7; integrity.key_len()]),
        )
        .unwrap();
    let mut message = [b"head".to_vec(), hex("f69f2445df4f9b17"), hex(plain), vec![0; 12]].concat();
    cipher.seal(&mut message, 4).unwrap();
    let end = message.len() - 12;
    assert_eq!(message[12..end], hex(sealed));
    assert_eq!(message[end..], prf(Prf::HmacSha1, &[7; 20], &[&message[..end]])[..12]);
    assert_eq!(cipher.open(&mut message, 4), Ok(12..end));
    assert_eq!(message[12..end], hex(plain));
}

/// NIST's GCM test cases 4, 10 and 16; their IV is the salt and the IV of RFC 5282.
#[test]
fn aes_gcm_as_nist_gives_it() {
    let plain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                 1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
    for (bits, key, sealed) in [
        (
            KeyBits::B128,
            "feffe9928665731c6d6a8f9467308308",
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091 5bc94fbc3221a5db94fae95ae7121a47",
        ),
        (
            KeyBits::B192,
            "feffe9928665731c6d6a8f9467308308feffe9928665731c",
            "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c\
             7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710 2519498e80f1478f37ba55bd6d27618c",
        ),
        (
            KeyBits::B256,
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662 76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ] {
        check_aead(
            Encryption::AesGcm16(bits),
            &format!("{key} cafebabe"),
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "facedbaddecaf888",
            plain,
            sealed,
        );
    }
}

/// RFC 7634 appendix B.
#[test]
fn chacha20_poly1305_as_in_rfc_7634() {
    check_aead(
        Encryption::ChaCha20Poly1305,
        "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f a0a1a2a3",
        "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029",
        "1011121314151617",
        "0000000c000040010000000a00",
        "610394701f8d017f7c12924889 6b71bfe25236efd7cdc67066906315b2",
    );
}

fn check_aead(encryption: Encryption, key: &str, associated: &str, iv: &str, plain: &str, sealed: &str) {
    let cipher = Provider::new().sk_cipher(encryption, None, secret(key), secret("")).unwrap();
    let (associated, iv) = (hex(associated), hex(iv));
    let body = associated.len();
    let mut message = [associated, iv, hex(plain), vec![0; 16]].concat();
    cipher.seal(&mut message, body).unwrap();
    assert_eq!(message[body + 8..], hex(sealed), "{encryption}");
    let range = cipher.open(&mut message, body).unwrap();
    assert_eq!(range, body + 8..message.len() - 16);
    assert_eq!(message[range], hex(plain), "{encryption}");
}

fn ciphers() -> Vec<(String, Box<dyn SkCipher>)> {
    let provider = Provider::new();
    let mut out = Vec::new();
    let aead = [
        Encryption::AesGcm16(KeyBits::B128),
        Encryption::AesGcm16(KeyBits::B192),
        Encryption::AesGcm16(KeyBits::B256),
        Encryption::ChaCha20Poly1305,
    ];
    for e in aead {
        let key = Secret::new(vec![1; e.key_material_len()]);
        out.push((e.to_string(), provider.sk_cipher(e, None, key, Secret::new(vec![])).unwrap()));
    }
    let aes = [KeyBits::B128, KeyBits::B192, KeyBits::B256].map(Encryption::AesCbc);
    for e in [&aes[..], &[Encryption::TripleDesCbc]].concat() {
        for integrity in Integrity::ALL {
            let key = Secret::new(vec![1; e.key_material_len()]);
            let integrity_key = Secret::new(vec![2; integrity.key_len()]);
            out.push((
                format!("{e}-{integrity}"),
                provider.sk_cipher(e, Some(*integrity), key, integrity_key).unwrap(),
            ));
        }
    }
    out
}

#[test]
fn every_cipher_opens_what_it_sealed_and_nothing_else() {
    for (name, cipher) in ciphers() {
        let body = 32;
        let start = body + cipher.iv_len();
        let plain = vec![0x5a; 48];
        let mut sealed = vec![0x11; start];
        sealed.extend_from_slice(&plain);
        sealed.resize(sealed.len() + cipher.icv_len(), 0);
        cipher.seal(&mut sealed, body).unwrap();
        assert_ne!(sealed[start..start + plain.len()], plain, "{name}");
        let mut copy = sealed.clone();
        let range = cipher.open(&mut copy, body).unwrap();
        assert_eq!(copy[range], plain, "{name}");
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(cipher.open(&mut bad, body), Err(CryptoError::Integrity), "{name} byte {at}");
        }
        for len in 0..sealed.len() {
            assert!(cipher.open(&mut sealed[..len].to_vec(), body).is_err(), "{name} cut to {len}");
        }
    }
}

#[test]
fn wrong_shapes_and_keys_are_errors() {
    for (name, cipher) in ciphers() {
        for (len, body) in [(0, 0), (10, 11), (32, 32), (32, usize::MAX), (40, 32)] {
            assert_eq!(cipher.seal(&mut vec![0; len], body), Err(CryptoError::Length), "{name} {len} {body}");
            assert_eq!(cipher.open(&mut vec![0; len], body), Err(CryptoError::Length), "{name} {len} {body}");
        }
        if cipher.block_len() > 1 {
            let len = 16 + 17 + cipher.icv_len();
            assert_eq!(cipher.seal(&mut vec![0; len], 0), Err(CryptoError::Length), "{name}");
        }
    }
    let provider = Provider::new();
    let zeros = |n| Secret::new(vec![0; n]);
    let gcm = Encryption::AesGcm16(KeyBits::B256);
    let cbc = Encryption::AesCbc(KeyBits::B256);
    let sha256 = Some(Integrity::HmacSha256_128);
    for (encryption, integrity, key, integrity_key) in [
        (gcm, None, 32, 0),
        (gcm, None, 36, 1),
        (gcm, sha256, 36, 32),
        (cbc, None, 32, 0),
        (cbc, sha256, 32, 31),
        (cbc, sha256, 16, 32),
        (Encryption::AesGcm16(KeyBits::B192), None, 24, 0),
        (Encryption::TripleDesCbc, None, 24, 0),
        (Encryption::TripleDesCbc, sha256, 16, 32),
    ] {
        let made = provider.sk_cipher(encryption, integrity, zeros(key), zeros(integrity_key));
        assert!(
            matches!(made, Err(CryptoError::Unsupported)),
            "{encryption} {integrity:?} {key} {integrity_key}"
        );
    }
}

// [7296:3.4-1]
#[test]
fn both_sides_agree_with_every_method() {
    let provider = Provider::new();
    for method in KeMethod::ALL.iter().copied() {
        let ours = provider.generate(method).unwrap();
        assert_eq!((ours.method(), ours.public().len()), (method, method.public_len()));
        let (public, theirs) = provider.encapsulate(method, ours.public()).unwrap();
        assert_eq!(public.len(), method.answer_len());
        assert!(ours.agree(&public).unwrap().equals(theirs.expose()), "{method}");
    }
}

// [7296:3.4-1]
#[test]
fn bad_public_values_are_refused() {
    let provider = Provider::new();
    let refused = |method: KeMethod, peer: &[u8]| {
        let by_responder = provider.encapsulate(method, peer).map(|_| ());
        let by_initiator = provider.generate(method).unwrap().agree(peer).map(|_| ());
        by_responder == Err(CryptoError::BadPublicValue) && by_initiator == Err(CryptoError::BadPublicValue)
    };
    for method in KeMethod::ALL.iter().copied() {
        let len = method.public_len();
        for bad in [0, 1, len - 1, len + 1] {
            assert!(refused(method, &vec![2; bad]), "{method} of {bad} bytes");
        }
        if method.is_kem() {
            continue;
        }
        assert!(refused(method, &vec![0; len]), "{method} all zeros");
        if method != KeMethod::Curve25519 {
            assert!(refused(method, &vec![0xff; len]), "{method} all ones");
        }
    }
    // On NIST's curves no point but those of the curve: a good one with each bit of its end changed.
    for method in [KeMethod::Ecp256, KeMethod::Ecp384, KeMethod::Ecp521] {
        for bit in 0..8 {
            let mut point = provider.generate(method).unwrap().public().to_vec();
            *point.last_mut().unwrap() ^= 1 << bit;
            assert!(refused(method, &point), "{method} bit {bit}");
        }
    }
    // Points of small order (RFC 7748 §6.1, RFC 8031 §3): the result would be all zeros.
    for point in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        assert!(refused(KeMethod::Curve25519, &hex(point)), "{point}");
    }
}

/// FIPS 203 §7.2: every coefficient of an encapsulation key is reduced. A ciphertext can only have a wrong length: one
/// for another key gives another secret (§6.3).
#[test]
fn ml_kem_refuses_keys_that_are_not_reduced() {
    let provider = Provider::new();
    for method in KeMethod::ALL.iter().copied().filter(|m| m.is_kem()) {
        let key = provider.generate(method).unwrap();
        let encapsulate = |public: &[u8]| provider.encapsulate(method, public).map(|_| ());
        for at in [0, 3, method.public_len() - 32 - 3] {
            let mut public = key.public().to_vec();
            assert_eq!(encapsulate(&public), Ok(()), "{method}");
            // The first coefficient of three bytes becomes q = 3329 = 0xd01, the smallest that is not reduced.
            public[at] = 0x01;
            public[at + 1] = (public[at + 1] & 0xf0) | 0x0d;
            assert_eq!(encapsulate(&public), Err(CryptoError::BadPublicValue), "{method} at {at}");
            public[at] = 0x00;
            assert_eq!(encapsulate(&public), Ok(()), "{method} at {at}");
        }
        assert_eq!(encapsulate(&vec![0xff; method.public_len()]), Err(CryptoError::BadPublicValue));
        let (mut ciphertext, secret) = provider.encapsulate(method, key.public()).unwrap();
        ciphertext[7] ^= 1;
        assert!(!key.agree(&ciphertext).unwrap().equals(secret.expose()), "{method}");
        for len in [0, method.answer_len() - 1, method.answer_len() + 1] {
            let agreed = provider.generate(method).unwrap().agree(&vec![1; len]);
            assert!(matches!(agreed, Err(CryptoError::BadPublicValue)), "{method} {len}");
        }
    }
}

/// ring takes no private keys for key exchange, so RFC 7748 §6.1 is shown of another implementation, and that
/// this one agrees with it.
#[test]
fn x25519_as_in_rfc_7748() {
    use x25519_dalek::{PublicKey, StaticSecret};
    let secret = |text: &str| StaticSecret::from(<[u8; 32]>::try_from(hex(text)).unwrap());
    let alice = secret("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = secret("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    let expected = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_eq!(alice.diffie_hellman(&PublicKey::from(&bob)).as_bytes().to_vec(), expected);
    let alice_public = PublicKey::from(&alice);
    assert_eq!(
        alice_public.as_bytes().to_vec(),
        hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    );
    let (public, shared) =
        Provider::new().encapsulate(KeMethod::Curve25519, alice_public.as_bytes()).unwrap();
    let theirs = alice.diffie_hellman(&PublicKey::from(<[u8; 32]>::try_from(public).unwrap()));
    assert!(shared.equals(theirs.as_bytes()));
}

macro_rules! ecp {
    ($name:ident, $curve:ident, $method:ident, $i:literal, $gi:literal, $r:literal, $gr:literal, $shared:literal) => {
        /// As with X25519: RFC 5903 §8 of another implementation, and agreement with it.
        #[test]
        fn $name() {
            use $curve::{PublicKey, SecretKey, ecdh::diffie_hellman};
            let key = |text: &str| SecretKey::from_slice(&hex(text)).unwrap();
            let (i, r) = (key($i), key($r));
            let wire = |k: &SecretKey| k.public_key().to_sec1_bytes()[1..].to_vec();
            assert_eq!((wire(&i), wire(&r)), (hex($gi), hex($gr)));
            let agree = |k: &SecretKey, peer: &[u8]| {
                let point = PublicKey::from_sec1_bytes(&[&[4], peer].concat()).unwrap();
                diffie_hellman(k.to_nonzero_scalar(), point.as_affine()).raw_secret_bytes().to_vec()
            };
            assert_eq!(agree(&i, &wire(&r)), hex($shared));
            let (public, shared) = Provider::new().encapsulate(KeMethod::$method, &wire(&i)).unwrap();
            assert!(shared.equals(&agree(&i, &public)));
        }
    };
}

ecp!(
    ecp256_as_in_rfc_5903,
    p256,
    Ecp256,
    "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
    "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180 \
     5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
    "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53",
    "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63 \
     56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
    "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE"
);

ecp!(
    ecp384_as_in_rfc_5903,
    p384,
    Ecp384,
    "099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655E35B538041E649EE3FAEF896783AB194",
    "667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6DE3AC808ACB4BDB4C88732AEE95F41AA \
     9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144ADA024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C",
    "41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060855CC9BDA0AA2942E0308312916B8ED2960E4BD55A7448FC",
    "E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D0D1AC43A0336DEF96FDA41D0774A3571 \
     DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FFF83FA40142209DFF5EAAD96DB9E6386C",
    "11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4D603135569B9E9D09CF5D4A270F59746"
);

ecp!(
    ecp521_as_in_rfc_5903,
    p521,
    Ecp521,
    "0037ADE9319A89F4DABDB3EF411AACCCA5123C61ACAB57B5393DCE47608172A095AA85A30FE1C2952C6771D937BA9777F5957B26\
     39BAB072462F68C27A57382D4A52",
    "0015417E84DBF28C0AD3C278713349DC7DF153C897A1891BD98BAB4357C9ECBEE1E3BF42E00B8E380AEAE57C2D107564941885942AF5A7F46\
     01723C4195D176CED3E 017CAE20B6641D2EEB695786D8C946146239D099E18E1D5A514C739D7CB4A10AD8A788015AC405D7799DC75E7B7D5B\
     6CF2261A6A7F1507438BF01BEB6CA3926F9582",
    "0145BA99A847AF43793FDD0E872E7CDFA16BE30FDC780F97BCCC3F078380201E9C677D600B343757A3BDBF2A3163E4C2F869CCA745\
     8AA4A4EFFC311F5CB151685EB9",
    "00D0B3975AC4B799F5BEA16D5E13E9AF971D5E9B984C9F39728B5E5739735A219B97C356436ADC6E95BB0352F6BE64A6C2912D4EF2D043\
     3CED2B6171640012D9460F 015C68226383956E3BD066E797B623C27CE0EAC2F551A10C2C724D9852077B87220B6536C5C408A1D2AEBB8E86D678AE\
     49CB57091F4732296579AB44FCD17F0FC56A",
    "01144C7D79AE6956BC8EDB8E7C787C4521CB086FA64407F97894E5E6B2D79B04D1427E73CA4BAA240A34786859810C06B3C715A3\
     A8CC3151F2BEE417996D19F3DDEA"
);

/// Seeds that failed are kept beside this file.
fn seeds() -> Option<Box<dyn proptest::test_runner::FailurePersistence>> {
    Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("regressions")))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: seeds(), ..ProptestConfig::default() })]

    #[test]
    fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), body in 0_usize..220) {
        for (name, cipher) in ciphers() {
            prop_assert!(cipher.open(&mut bytes.clone(), body).is_err(), "{}", name);
        }
    }

    #[test]
    fn no_public_value_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        for method in [KeMethod::Curve25519, KeMethod::Ecp256, KeMethod::Ecp384, KeMethod::Ecp521] {
            let _ = Provider::new().encapsulate(method, &bytes);
        }
    }
}
