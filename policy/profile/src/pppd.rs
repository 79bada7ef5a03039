//! pppd's files of secrets, `/etc/ppp/chap-secrets` and `/etc/ppp/pap-secrets` (pppd(8), AUTHENTICATION): a line has the
//! client, the server, the secret, and the addresses that the client may have.

use core::net::IpAddr;

use adit_core::{Prefix, Secret};
use zeroize::Zeroizing;

use crate::error::{Access, ProfileError, ProfileErrors, Source};
use crate::secret::check_secret_file;
use crate::users::{User, UserPassword, Users};

/// The longest word, in octets: pppd's own limit.
const LONGEST: usize = 1024;

const FORM: &str = "CLIENT SERVER SECRET ADDRESSES, as pppd(8) has it";

/// The lines of such a file.
#[derive(Debug)]
pub struct PppdSecrets(Vec<Line>);

#[derive(Debug)]
struct Line {
    client: String,
    server: String,
    secret: Secret,
    addresses: AddressRule,
}

/// Which addresses somebody may have: the first word that fits counts, and what fits none may not be had.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AddressRule(Vec<(bool, Allowed)>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Allowed {
    Any,
    Network(Prefix),
}

impl AddressRule {
    /// Whether this address may be had.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let fits = |what: &Allowed| match what {
            Allowed::Any => true,
            Allowed::Network(network) => network.contains(address),
        };
        self.0.iter().find(|(_, what)| fits(what)).is_some_and(|(allowed, _)| *allowed)
    }

    /// The one that is meant for them: the first that is an address and no network.
    #[must_use]
    pub fn suggested(&self) -> Option<IpAddr> {
        self.0.iter().find_map(|(allowed, what)| match what {
            Allowed::Network(network) if *allowed && *network == Prefix::host(network.address) => {
                Some(network.address)
            }
            _ => None,
        })
    }
}

impl PppdSecrets {
    /// Those who may come in at the server of this name: lines for it go before lines for `*`. Lines for any client are for
    /// who dials, and let nobody in.
    #[must_use]
    pub fn users(self, server: &str) -> Users {
        let mut users = Users::default();
        let (own, any): (Vec<_>, Vec<_>) =
            self.0.into_iter().filter(|l| l.client != "*").partition(|l| l.server == server);
        for line in own.into_iter().chain(any.into_iter().filter(|l| l.server == "*")) {
            let password = UserPassword::Text(line.secret);
            users.add(line.client, User { password, expired: false, addresses: Some(line.addresses) });
        }
        users
    }

    /// What this client says to a server of this name: the line for it, else that for `*`, else the only one.
    ///
    /// # Errors
    /// There is none, or several and none of them for the server; in words.
    pub fn secret(&self, client: &str, server: &str) -> Result<Secret, String> {
        let own: Vec<&Line> = self.0.iter().filter(|l| l.client == client).collect();
        let of = |name: &str| own.iter().copied().find(|l| l.server == name);
        let only = || if let [line] = *own.as_slice() { Some(line) } else { None };
        match of(server).or_else(|| of("*")).or_else(only) {
            Some(line) => Ok(line.secret.duplicate()),
            None if own.is_empty() => Err(format!("no line has a secret of {client}")),
            None => {
                Err(format!("several lines are of {client}, and none of them for the server {server} or *"))
            }
        }
    }
}

/// Reads such a file.
///
/// # Errors
/// Every mistake of the file, without what it holds; or others can read it.
pub fn parse_pppd_secrets(file: &str, content: &[u8], access: Access) -> Result<PppdSecrets, ProfileErrors> {
    let whole = Source { file, text: "", access: None };
    let one = |error: ProfileError| {
        ProfileErrors::of(vec![error]).unwrap_or_else(|| ProfileErrors::unexplained(&whole))
    };
    check_secret_file(file, access).map_err(one)?;
    let bad = |message: &str| ProfileError::at(&whole, 0..0, message.into(), FORM.into());
    let text = core::str::from_utf8(content).map_err(|_| one(bad("the file is not UTF-8 text")))?;
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    let mut rest = Rest { left: text, number: 1 };
    while let Some((number, words)) = rest.line() {
        match words.and_then(|words| read(&words)) {
            Ok(None) => {}
            Ok(Some(line)) => lines.push(line),
            Err(mistake) => {
                // Without the line itself: it has a secret.
                let mut error = bad(mistake);
                error.line = number;
                errors.push(error);
            }
        }
    }
    match ProfileErrors::of(errors) {
        Some(errors) => Err(errors),
        None => Ok(PppdSecrets(lines)),
    }
}

/// What a line's words say. `None`: it has none.
fn read(words: &[Zeroizing<String>]) -> Result<Option<Line>, &'static str> {
    let [client, server, secret, addresses @ ..] = words else {
        return if words.is_empty() { Ok(None) } else { Err("the line has no secret") };
    };
    if secret.is_empty() {
        return Err("the secret is empty: pppd would take any");
    }
    if secret.starts_with('@') {
        return Err("the secret is in another file (@): write it here");
    }
    let addresses = addresses.iter().take_while(|w| *w.as_str() != *"--").map(|w| address(w));
    Ok(Some(Line {
        client: client.to_string(),
        server: server.to_string(),
        secret: secret.as_bytes().into(),
        addresses: AddressRule(addresses.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()),
    }))
}

/// `*`, `-` (none), an address, a network, or one of the latter with `!` in front: not that.
fn address(word: &str) -> Result<Option<(bool, Allowed)>, &'static str> {
    let (allowed, what) = word.strip_prefix('!').map_or((true, word), |what| (false, what));
    match what {
        "*" => Ok(Some((allowed, Allowed::Any))),
        "-" => Ok(None),
        _ => {
            let network = what.parse::<Prefix>();
            let network = network.map_err(|_| "an address is none: 10.9.0.7, 10.9.0.0/24, * or -")?;
            Ok(Some((allowed, Allowed::Network(network))))
        }
    }
}

type Words = Vec<Zeroizing<String>>;

/// What is still to be read, and the number of the line that it begins with.
struct Rest<'t> {
    left: &'t str,
    number: usize,
}

impl Rest<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.left.chars().next()?;
        self.left = self.left.get(c.len_utf8()..).unwrap_or("");
        self.number = self.number.saturating_add(usize::from(c == '\n'));
        Some(c)
    }

    fn peek(&self) -> Option<char> {
        self.left.chars().next()
    }

    /// The words of the next line, and its number. A line goes on where its end has a backslash in front.
    fn line(&mut self) -> Option<(usize, Result<Words, &'static str>)> {
        self.peek()?;
        let (number, mut words, mut mistake) = (self.number, Vec::new(), None);
        loop {
            match self.peek() {
                None => break,
                Some('\n') => {
                    self.next();
                    break;
                }
                Some('\\') if self.left.starts_with("\\\n") => {
                    self.next();
                    self.next();
                }
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next();
                    }
                }
                Some(c) if c.is_whitespace() => {
                    self.next();
                }
                Some(_) => match self.word() {
                    Ok(word) => words.push(word),
                    Err(why) => mistake = mistake.or(Some(why)),
                },
            }
        }
        Some((number, mistake.map_or(Ok(words), Err)))
    }

    /// One word: quoted by `"` or `'`, or up to white space; a backslash takes the next character as it is, a few letters and
    /// octal numbers as C does.
    fn word(&mut self) -> Result<Zeroizing<String>, &'static str> {
        // Room for all of it, so that no half of a secret is left behind by a growing buffer.
        let mut word = Zeroizing::new(String::with_capacity(LONGEST.saturating_add(4)));
        let quote = self.peek().filter(|c| matches!(c, '"' | '\''));
        if quote.is_some() {
            self.next();
        }
        loop {
            let c = match self.peek() {
                Some(c) if Some(c) == quote => {
                    self.next();
                    return Ok(word);
                }
                None | Some('\n') if quote.is_some() => return Err("a quotation has no end"),
                None => return Ok(word),
                Some(c) if quote.is_none() && c.is_whitespace() => return Ok(word),
                Some('\\') => {
                    self.next();
                    self.escaped()
                }
                Some(_) => self.next(),
            };
            word.extend(c);
            if word.len() > LONGEST {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.next();
                }
                return Err("a word has more than 1024 octets");
            }
        }
    }

    /// What a backslash and what follows it mean. Nothing: the line goes on.
    fn escaped(&mut self) -> Option<char> {
        let digit = |c: Option<char>| c.and_then(|c| c.to_digit(8));
        if let Some(first) = digit(self.peek()) {
            self.next();
            let mut number = first;
            for _ in 0..2 {
                let Some(digit) = digit(self.peek()) else { break };
                self.next();
                number = number.saturating_mul(8).saturating_add(digit);
            }
            return char::from_u32(number & 0xff);
        }
        match self.next()? {
            '\n' => None,
            'a' => Some('\u{7}'),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            's' => Some(' '),
            't' => Some('\t'),
            'v' => Some('\u{b}'),
            c => Some(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLOSED: Access = Access { mode: 0o100_600, gid: 0, adit_gid: Some(990) };

    fn read(text: &str) -> PppdSecrets {
        parse_pppd_secrets("/etc/ppp/chap-secrets", text.as_bytes(), CLOSED).unwrap()
    }

    fn text(user: &User) -> &[u8] {
        match &user.password {
            UserPassword::Text(secret) | UserPassword::NtHash(secret) => secret.expose(),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn lines_are_read_as_pppd_reads_them() {
        let secrets = read(
            "# Secrets for authentication using CHAP\n\n\
             ann\tpptpd  \"correct horse\" *  # staff\n\
             'CORP\\\\bob' * swordfish\\s\\101 10.9.0.7\n\
             carl pptpd \\\n  \"\\\"quoted\\\"\" 10.9.0.0/24 !10.9.0.9 *\n\
             dora other x *\n\
             * * anybody *\n",
        );
        let users = secrets.users("pptpd");
        assert_eq!(users.len(), 3);
        let of = |name: &str| users.find(name).unwrap().1;
        assert_eq!(text(of("ann")), b"correct horse");
        assert_eq!(text(of("CORP\\bob")), b"swordfish A");
        assert_eq!(text(of("carl")), b"\"quoted\"");
        assert!(users.find("dora").is_none() && users.find("*").is_none());
    }

    #[test]
    fn a_line_for_this_server_goes_before_one_for_any() {
        let users = read("ann * any *\nann pptpd own *\nann pptpd second *\n").users("pptpd");
        assert_eq!(text(users.find("ann").unwrap().1), b"own");
    }

    #[test]
    fn the_first_word_that_fits_an_address_counts() {
        let users = read(
            "a s x\nb s x -\nc s x *\nd s x 10.9.0.7\ne s x !10.9.0.9 10.9.0.0/24\nf s x 10.9.0.0/24 -- 5\n",
        )
        .users("s");
        let rule = |name: &str| users.find(name).unwrap().1.addresses.clone().unwrap();
        let allows = |name: &str, address: &str| rule(name).allows(ip(address));
        assert!(!allows("a", "10.9.0.7") && !allows("b", "10.9.0.7"));
        assert!(allows("c", "10.9.0.7") && rule("c").suggested().is_none());
        assert!(allows("d", "10.9.0.7") && !allows("d", "10.9.0.8"));
        assert_eq!(rule("d").suggested(), Some(ip("10.9.0.7")));
        assert!(allows("e", "10.9.0.8") && !allows("e", "10.9.0.9") && rule("e").suggested().is_none());
        assert!(allows("f", "10.9.0.8") && !allows("f", "10.8.0.8"));
    }

    #[test]
    fn who_dials_says_what_is_meant_for_the_server() {
        let secrets = read("ann corp one\nann home two\nbob corp three\ncarl corp x\ncarl * four\n");
        assert!(secrets.secret("ann", "home").unwrap().equals(b"two"));
        assert!(secrets.secret("ann", "elsewhere").unwrap_err().contains("several lines"));
        assert!(secrets.secret("bob", "elsewhere").unwrap().equals(b"three"));
        assert!(secrets.secret("carl", "elsewhere").unwrap().equals(b"four"));
        assert!(secrets.secret("dora", "corp").unwrap_err().contains("no line"));
    }

    #[test]
    fn mistakes_are_told_without_the_secret() {
        let file = "ann pptpd\nbob pptpd \"\" *\ncarl pptpd @/etc/swordfish *\ndora s swordfish 10.9\n\
                    e s \"swordfish\nf s \\\n swordfish 1.2.3\n";
        let errors = parse_pppd_secrets("f", file.as_bytes(), CLOSED).unwrap_err();
        let lines: Vec<usize> = errors.all().iter().map(|e| e.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 6]);
        assert!(!errors.to_string().contains("swordfish"), "{errors}");
        let long = format!("a s {}\n", "x".repeat(1025));
        assert!(parse_pppd_secrets("f", long.as_bytes(), CLOSED).is_err());
        assert!(parse_pppd_secrets("f", b"", Access { mode: 0o100_644, ..CLOSED }).is_err());
    }

    proptest! {
        #[test]
        fn a_quoted_secret_reads_back(secret in "[ -~]{1,40}") {
            let quoted: String =
                secret.chars().flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c])).collect();
            let taken = parse_pppd_secrets("f", format!("ann * \"{quoted}\" *\n").as_bytes(), CLOSED);
            if secret.starts_with('@') {
                prop_assert!(taken.is_err());
            } else {
                prop_assert!(taken.unwrap().secret("ann", "s").unwrap().equals(secret.as_bytes()));
            }
        }

        #[test]
        fn any_file_is_read_or_refused(text in "([a-z\"'\\\\#@* \n\t!-/0-9.]|\\PC){0,200}") {
            let _ = parse_pppd_secrets("f", text.as_bytes(), CLOSED);
        }
    }
}
