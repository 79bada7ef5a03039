//! Which type of tunnel worked last, network by network.

use core::fmt;
use core::net::IpAddr;

/// Networks that are remembered.
const MOST: usize = 32;
/// The longest line that is read, in octets.
const LONGEST: usize = 200;

/// A network as this host meets it: the link, and the router that leads to the server. It tells apart what one host meets one
/// after the other, and is no secret; where two networks look the same, the wrong type is tried first there, and no more.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NetworkKey(String);

impl NetworkKey {
    /// By this link, and by this router; `None`: the server is on the link itself.
    #[must_use]
    pub fn new(link: &str, router: Option<IpAddr>) -> Self {
        // A link's name may have anything but spaces and slashes.
        let link: String = link.chars().filter(char::is_ascii_graphic).collect();
        Self(format!("{link}/{}", router.map_or_else(|| "link".to_owned(), |router| router.to_string())))
    }
}

impl fmt::Display for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a profile remembers. As text, a network and the word of a type a line, the one that was used last at the end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory(Vec<(NetworkKey, String)>);

impl Memory {
    /// What the text says; lines that say nothing are left out, and the oldest where there are too many.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut memory = Self::default();
        for line in text.lines().filter(|line| line.len() <= LONGEST) {
            let mut words = line.split_ascii_whitespace();
            if let (Some(network), Some(word), None) = (words.next(), words.next(), words.next()) {
                memory.learn(&NetworkKey(network.to_owned()), word);
            }
        }
        memory
    }

    /// The word for what worked there.
    #[must_use]
    pub fn of(&self, network: &NetworkKey) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == network).map(|(_, word)| word.as_str())
    }

    /// This has worked there.
    pub fn learn(&mut self, network: &NetworkKey, word: &str) {
        self.0.retain(|(known, _)| known != network);
        self.0.push((network.clone(), word.to_owned()));
        let many = self.0.len().saturating_sub(MOST);
        self.0.drain(..many);
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(network, word)| writeln!(f, "{network} {word}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_worked_is_known_by_its_network_and_the_oldest_is_forgotten() {
        let key = |n: u8| NetworkKey::new("wlan0", Some(IpAddr::from([192, 168, n, 1])));
        let mut memory = Memory::default();
        assert_eq!(memory.of(&key(1)), None);
        memory.learn(&key(1), "sstp");
        memory.learn(&key(2), "ikev2");
        assert_eq!((memory.of(&key(1)), memory.of(&key(2))), (Some("sstp"), Some("ikev2")));
        memory.learn(&key(1), "ikev2");
        assert_eq!(memory.to_string(), "wlan0/192.168.2.1 ikev2\nwlan0/192.168.1.1 ikev2\n");
        assert_eq!(Memory::read(&memory.to_string()), memory);
        for n in 10..=41 {
            memory.learn(&key(n), "sstp");
        }
        assert_eq!((memory.of(&key(1)), memory.0.len()), (None, MOST));
        assert_ne!(NetworkKey::new("wlan0", None), key(1));
    }

    #[test]
    fn a_file_that_somebody_has_spoilt_says_nothing_else() {
        let memory = Memory::read(&format!("\n a b c\nonly\nx/link {}\nwlan0/link sstp\n", "y".repeat(300)));
        assert_eq!(memory.to_string(), "wlan0/link sstp\n");
        assert_eq!(NetworkKey::new("a b\n\u{e4}", None).to_string(), "ab/link");
    }
}
