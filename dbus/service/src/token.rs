//! Keys in PKCS#11 tokens: smart cards, USB tokens, HSMs. The key never leaves its token; it signs there.
//!
//! A module is a program that the daemon loads, so that no profile names one: those in `/etc/adit/pkcs11` are asked.

mod login;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use adit_core::{Failure, FailureCode, KeyKind, Secret, SignatureScheme, Step};
use adit_pki::{
    EcdsaEncoding, PkiError, Signer, ecdsa_to_der, key_kind, public_key, summarize, verify_bare,
    verify_signature,
};
use adit_profile::TokenKey;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::Error;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, CertificateType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};
use login::{Login, RefusedPins};
use ring::digest::{SHA256, SHA384, SHA512, digest};
use ring::rand::SecureRandom;

/// Certificates with one number that are looked at, at most.
const MOST_OBJECTS: usize = 100;

/// A module is loaded once, and stays.
static LOADED: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

/// A module, and which of its tokens are open.
struct Module {
    functions: Pkcs11,
    /// By slot.
    logins: Mutex<BTreeMap<u64, Weak<Login>>>,
    /// What it refused of files, by the token's serial number and label.
    refused: RefusedPins,
}

impl Module {
    fn load(path: &Path) -> Result<Self, Error> {
        let functions = Pkcs11::new(path)?;
        functions.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
        Ok(Self { functions, logins: Mutex::default(), refused: RefusedPins::default() })
    }

    /// What the token in that slot was opened with, if it is open.
    fn login(&self, slot: Slot) -> Arc<Login> {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.get(&slot.id()).and_then(Weak::upgrade).unwrap_or_else(|| {
            let login = Arc::default();
            logins.insert(slot.id(), Arc::downgrade(&login));
            login
        })
    }
}

/// A token that has been found. Nothing secret has been asked of it yet.
pub(crate) struct Token {
    module: Arc<Module>,
    slot: Slot,
    info: TokenInfo,
}

/// Where the PIN comes from.
pub(crate) enum Pin {
    /// From nowhere: the token asks for it itself, or wants none.
    None,
    /// From a file, which is as wrong the next time as it was the first.
    File(Secret),
    /// A person has typed it.
    Typed(Secret),
}

impl Pin {
    const fn secret(&self) -> Option<&Secret> {
        match self {
            Self::None => None,
            Self::File(pin) | Self::Typed(pin) => Some(pin),
        }
    }
}

/// Why a token was not opened.
pub(crate) enum Refused {
    /// The PIN is wrong, and another may be tried.
    Pin(Failure),
    /// For good.
    Other(Failure),
}

impl Token {
    /// Looks for the one token that `key` names, by the modules in `folder`. It blocks.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub(crate) fn find(folder: &Path, key: &TokenKey) -> Result<Self, Failure> {
        let mut found = Vec::new();
        let (modules, mut last) = modules(folder)?;
        for module in modules {
            let slots = module.functions.get_slots_with_initialized_token().unwrap_or_else(|e| {
                last = Some(trouble("the slots of a module", &e));
                Vec::new()
            });
            for slot in slots {
                let Ok(info) = module.functions.get_token_info(slot) else { continue };
                if fits(key, &info) {
                    found.push(Self { module: Arc::clone(&module), slot, info });
                }
            }
        }
        match (found.pop(), found.len()) {
            (Some(only), 0) => Ok(only),
            (Some(_), others) => {
                let text = format!("{} tokens fit {key}", others + 1);
                Err(absent(text).hint(
                    "name the token's label or serial number; pkcs11-tool --list-token-slots  shows them",
                ))
            }
            (None, _) => Err(last.unwrap_or_else(|| {
                absent(format!("no token fits {key}"))
                    .hint("put it in; pkcs11-tool --list-token-slots  shows what is there")
            })),
        }
    }

    /// What it is called.
    pub(crate) fn label(&self) -> &str {
        self.info.label()
    }

    /// Whether it wants a PIN from us.
    pub(crate) fn wants_pin(&self) -> bool {
        self.info.login_required() && !self.info.protected_authentication_path()
    }

    /// Logs in, and finds the key and its certificate, if that is there too. It blocks. A PIN of a file that the token has
    /// refused is not given to it again.
    ///
    /// # Errors
    /// The PIN is wrong or missing, or there is no such key.
    pub(crate) fn open(self, key: &TokenKey, pin: &Pin) -> Result<(Option<Vec<u8>>, Opened), Refused> {
        let label = self.label().to_owned();
        if self.info.user_pin_locked() {
            return Err(Refused::Other(locked(&label)));
        }
        if self.info.user_pin_final_try() && matches!(pin, Pin::File(_)) {
            let text = format!("the token {label} has one try for its PIN left, which a file is not given");
            return Err(Refused::Other(
                absent(text).hint("correct the file, and log in by hand: pkcs11-tool --login --list-objects"),
            ));
        }
        if self.wants_pin() && matches!(pin, Pin::None) {
            return Err(Refused::Other(no_pin(&label)));
        }
        let login = self.module.login(self.slot);
        let module = &self.module.functions;
        let session = module.open_ro_session(self.slot).map_err(other("a session"))?;
        if self.info.login_required() {
            let token = (self.info.serial_number(), label.as_str());
            login.enter(&session, token, pin, &self.module.refused)?;
        }
        let found = find_key(&session, key).map_err(Refused::Other)?;
        let mechanisms = module.get_mechanism_list(self.slot).map_err(other("its mechanisms"))?;
        let certificate = found.id.as_deref().and_then(|id| certificate(&session, id));
        Ok((certificate, Opened { session, login, key: found.handle, mechanisms }))
    }
}

/// A token that has been logged in to.
pub(crate) struct Opened {
    session: Session,
    /// Goes after the session: what the token was opened with is known for as long as it is open.
    login: Arc<Login>,
    key: ObjectHandle,
    mechanisms: Vec<MechanismType>,
}

impl Opened {
    /// What signs for the certificate `leaf`.
    ///
    /// # Errors
    /// The certificate can't be read, or the token can't sign with a key of that kind. Whether it is the same key shows when
    /// it signs: not every token tells of the public half, and a signature for nothing may cost a touch of it.
    pub(crate) fn signer(self, leaf: &[u8]) -> Result<TokenSigner, Failure> {
        let schemes = schemes(key_kind(leaf)?, &self.mechanisms);
        if schemes.is_empty() {
            return Err(absent("the token can't sign with a key of this kind".into()));
        }
        Ok(TokenSigner {
            session: Mutex::new(self.session),
            _login: self.login,
            key: self.key,
            schemes,
            public: public_key(leaf)?,
            subject: summarize(leaf)?.subject,
        })
    }
}

/// Those that can be used, and why one can't.
fn modules(folder: &Path) -> Result<(Vec<Arc<Module>>, Option<Failure>), Failure> {
    let hint = "for smart cards, as root: mkdir -p /etc/adit/pkcs11 && ln -s \
                /usr/lib/x86_64-linux-gnu/opensc-pkcs11.so /etc/adit/pkcs11/";
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_file()).collect();
    paths.sort();
    if paths.is_empty() {
        return Err(absent(format!("there is no PKCS#11 module in {}", folder.display())).hint(hint));
    }
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut out, mut last) = (Vec::new(), None);
    for path in paths {
        if let Some(module) = loaded.get(&path) {
            out.push(Arc::clone(module));
            continue;
        }
        match Module::load(&path) {
            Ok(module) => {
                let module = Arc::new(module);
                loaded.insert(path, Arc::clone(&module));
                out.push(module);
            }
            Err(e) => last = Some(trouble(&path.display().to_string(), &e)),
        }
    }
    Ok((out, last))
}

fn fits(key: &TokenKey, info: &TokenInfo) -> bool {
    let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
    same(&key.token, info.label())
        && same(&key.manufacturer, info.manufacturer_id())
        && same(&key.model, info.model())
        && same(&key.serial, info.serial_number())
}

struct Found {
    handle: ObjectHandle,
    id: Option<Vec<u8>>,
}

fn find_key(session: &Session, key: &TokenKey) -> Result<Found, Failure> {
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
    template.extend(key.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
    template.extend(key.id.clone().map(Attribute::Id));
    let mut keys = session.find_objects(&template).map_err(|e| trouble("its keys", &e))?;
    match (keys.pop(), keys.len()) {
        (Some(handle), 0) => {
            let attributes = session.get_attributes(handle, &[AttributeType::Id]).unwrap_or_default();
            let id = attributes.into_iter().find_map(|a| match a {
                Attribute::Id(id) if !id.is_empty() => Some(id),
                _ => None,
            });
            Ok(Found { handle, id })
        }
        (Some(_), others) => {
            let text = format!("{} keys of the token fit {key}", others + 1);
            Err(absent(text)
                .hint("name one by  object=  or  id= ; pkcs11-tool --login --list-objects  shows them"))
        }
        (None, _) => Err(absent(format!("the token has no private key that fits {key}"))
            .hint("pkcs11-tool --login --list-objects  shows what it has")),
    }
}

/// The certificate that has the key's number.
fn certificate(session: &Session, id: &[u8]) -> Option<Vec<u8>> {
    let template = [
        Attribute::Class(ObjectClass::CERTIFICATE),
        Attribute::CertificateType(CertificateType::X_509),
        Attribute::Id(id.to_vec()),
    ];
    let found = session.find_objects(&template).ok()?;
    found.into_iter().take(MOST_OBJECTS).find_map(|handle| {
        let attributes = session.get_attributes(handle, &[AttributeType::Value]).ok()?;
        attributes.into_iter().find_map(|a| match a {
            Attribute::Value(der) if !der.is_empty() => Some(der),
            _ => None,
        })
    })
}

/// What a key of that kind can do there, best first. Digests are made here, which every token can take.
fn schemes(kind: KeyKind, mechanisms: &[MechanismType]) -> Vec<SignatureScheme> {
    use SignatureScheme as S;
    let can = |mechanism| mechanisms.contains(&mechanism);
    let mut out = Vec::new();
    match kind {
        KeyKind::Rsa => {
            if can(MechanismType::RSA_PKCS_PSS) {
                out.extend([S::RsaPssSha256, S::RsaPssSha384, S::RsaPssSha512]);
            }
            if can(MechanismType::RSA_PKCS) {
                out.extend([S::RsaPkcs1Sha256, S::RsaPkcs1Sha384, S::RsaPkcs1Sha512]);
            }
        }
        KeyKind::EcdsaP256 => out.extend(can(MechanismType::ECDSA).then_some(S::EcdsaP256Sha256)),
        KeyKind::EcdsaP384 => out.extend(can(MechanismType::ECDSA).then_some(S::EcdsaP384Sha384)),
        KeyKind::Ed25519 => out.extend(can(MechanismType::EDDSA).then_some(S::Ed25519)),
    }
    out
}

/// Signs with a key in a token.
pub(crate) struct TokenSigner {
    session: Mutex<Session>,
    /// As in [`Opened`].
    _login: Arc<Login>,
    key: ObjectHandle,
    schemes: Vec<SignatureScheme>,
    /// The certificate's SubjectPublicKeyInfo.
    public: Vec<u8>,
    /// Whose certificate it is.
    subject: String,
}

impl Signer for TokenSigner {
    fn schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }

    fn sign(
        &self,
        scheme: SignatureScheme,
        message: &[u8],
        encoding: EcdsaEncoding,
        _: &dyn SecureRandom,
    ) -> Result<Vec<u8>, PkiError> {
        use SignatureScheme as S;
        let hash = |algorithm| digest(algorithm, message).as_ref().to_vec();
        let pkcs1 =
            |prefix: [u8; 19], algorithm| (Mechanism::RsaPkcs, [&prefix[..], &hash(algorithm)].concat());
        let (mechanism, data) = match scheme {
            S::RsaPssSha256 => (pss(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32)?, hash(&SHA256)),
            S::RsaPssSha384 => (pss(MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48)?, hash(&SHA384)),
            S::RsaPssSha512 => (pss(MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64)?, hash(&SHA512)),
            S::RsaPkcs1Sha256 => pkcs1(digest_info(1, 32), &SHA256),
            S::RsaPkcs1Sha384 => pkcs1(digest_info(2, 48), &SHA384),
            S::RsaPkcs1Sha512 => pkcs1(digest_info(3, 64), &SHA512),
            S::EcdsaP256Sha256 => (Mechanism::Ecdsa, hash(&SHA256)),
            S::EcdsaP384Sha384 => (Mechanism::Ecdsa, hash(&SHA384)),
            S::Ed25519 => (Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)), message.to_vec()),
            _ => return Err(PkiError::Scheme("which tokens are not asked for")),
        };
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let signature = session.sign(&mechanism, self.key, &data).map_err(|e| PkiError::Token(short(&e)))?;
        // PKCS#11 has r and s one after the other.
        let signature = match (scheme.key_kind(), encoding) {
            (kind @ (KeyKind::EcdsaP256 | KeyKind::EcdsaP384), EcdsaEncoding::Der) => {
                ecdsa_to_der(&signature, kind).ok_or(PkiError::Signature)?
            }
            _ => signature,
        };
        verify_signature(&self.public, scheme, message, &signature, encoding)
            .map_err(|_| PkiError::KeyMismatch(self.subject.clone()))?;
        Ok(signature)
    }

    fn sign_bare(&self, hash: &[u8]) -> Result<Vec<u8>, PkiError> {
        // CKM_RSA_PKCS puts nothing in front of what it signs.
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let signed = session.sign(&Mechanism::RsaPkcs, self.key, hash);
        let signature = signed.map_err(|e| PkiError::Token(short(&e)))?;
        drop(session);
        verify_bare(&self.public, hash, &signature)
            .map_err(|_| PkiError::KeyMismatch(self.subject.clone()))?;
        Ok(signature)
    }
}

fn pss(hash_alg: MechanismType, mgf: PkcsMgfType, salt: usize) -> Result<Mechanism<'static>, PkiError> {
    let s_len = salt.try_into().map_err(|_| PkiError::Signature)?;
    Ok(Mechanism::RsaPkcsPss(PkcsPssParams { hash_alg, mgf, s_len }))
}

/// DigestInfo up to the digest (RFC 8017 §9.2 note 1) of 2.16.840.1.101.3.4.2.`arc`, a hash of `length` bytes.
const fn digest_info(arc: u8, length: u8) -> [u8; 19] {
    [0x30, 17 + length, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, arc, 5, 0, 4, length]
}

fn absent(text: String) -> Failure {
    Failure::new(FailureCode::NoSecret, Step::Profile, text)
}

fn locked(label: &str) -> Failure {
    absent(format!("the token {label} is locked: too many wrong PINs"))
        .hint("whoever has its SO PIN or PUK unlocks it: pkcs11-tool --init-pin --login --login-type so")
}

fn other(what: &'static str) -> impl FnOnce(Error) -> Refused {
    move |e| Refused::Other(trouble(what, &e))
}

fn trouble(what: &str, error: &Error) -> Failure {
    absent(format!("PKCS#11: {what}: {}", short(error)))
        .hint("is it in, and may the user adit reach it? pkcs11-tool --list-token-slots  shows what is there")
}

fn not_working(label: &str, error: &Error) -> Failure {
    absent(format!("the token {label} does not work: {}", short(error)))
        .hint("is it in, and may the user adit reach it? pkcs11-tool --login --list-objects  tries the same")
}

/// The first sentence of it, which names the error.
fn short(error: &Error) -> String {
    match error {
        Error::Pkcs11(value, function) => format!("{value:?} in {function:?}"),
        other => other.to_string(),
    }
}

fn wrong_pin(label: &str, pin: &Pin, why: &str) -> Failure {
    let text = format!("the PIN of the token {label} is wrong: {why}");
    Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text).hint(match pin {
        Pin::File(_) => {
            "correct the file that key-password-file names; a token locks itself after a few wrong ones"
        }
        Pin::None | Pin::Typed(_) => "a token locks itself after a few wrong ones",
    })
}

fn no_pin(label: &str) -> Failure {
    absent(format!("the token {label} wants a PIN"))
        .hint("add  key-password-file = \"NAME\" , a file in /etc/adit/secrets with the PIN")
}

#[cfg(test)]
mod tests;
