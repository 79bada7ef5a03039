//! IPV6CP's option: the interface identifier (RFC 5072 §4.1).

use adit_core::Entropy;

use crate::control::{Judgement, Negotiation};
use crate::lcp::{Opinion, collect};
use crate::wire::{ConfigOption, Options, Protocol, emit_options};
use adit_core::snapshot::{Reader, Writer};

const IDENTIFIER: u8 = 1;

type Identifier = [u8; 8];

pub(crate) struct Ipv6cp {
    ours: Option<Identifier>,
    peer: Option<Identifier>,
}

impl Ipv6cp {
    pub(crate) const fn new() -> Self {
        Self { ours: None, peer: None }
    }

    pub(crate) fn save(&self, w: &mut Writer) {
        w.option(self.ours, |w, identifier| w.fixed(&identifier));
        w.option(self.peer, |w, identifier| w.fixed(&identifier));
    }

    pub(crate) fn restore(r: &mut Reader<'_>) -> Option<Self> {
        Some(Self { ours: r.option(Reader::fixed)?, peer: r.option(Reader::fixed)? })
    }

    /// Ours and the peer's, both not zero.
    pub(crate) fn identifiers(&self) -> Option<(Identifier, Identifier)> {
        Some((self.ours.filter(|i| *i != [0; 8])?, self.peer.filter(|i| *i != [0; 8])?))
    }
}

fn identifier(data: &[u8]) -> Option<Identifier> {
    Identifier::try_from(data).ok()
}

/// A random one, marked as not universal (RFC 5072 §4.1).
fn fresh(entropy: &mut dyn Entropy) -> Identifier {
    let mut out = [0; 8];
    entropy.public(&mut out);
    if let Some(first) = out.first_mut() {
        *first &= 0xfd;
    }
    if out == [0; 8] {
        out = [0, 0, 0, 0, 0, 0, 0, 1];
    }
    out
}

impl Negotiation for Ipv6cp {
    const PROTOCOL: Protocol = Protocol::IPV6CP;

    fn restart(&mut self) {
        (self.ours, self.peer) = (None, None);
    }

    fn request(&mut self, entropy: &mut dyn Entropy) -> Vec<u8> {
        let data = &*self.ours.get_or_insert_with(|| fresh(entropy));
        emit_options([ConfigOption { kind: IDENTIFIER, data }])
    }

    fn judge(&mut self, options: Options<'_>, entropy: &mut dyn Entropy) -> Judgement {
        let ours = *self.ours.get_or_insert_with(|| fresh(entropy));
        let mut asked = None;
        let opinions: Vec<_> = options
            .iter()
            .map(|option| match (option.kind, identifier(option.data)) {
                (IDENTIFIER, Some(id)) if id != [0; 8] && id != ours => {
                    asked = Some(id);
                    (option, Opinion::Ack)
                }
                (IDENTIFIER, Some(_)) => (option, Opinion::Nak(fresh(entropy).to_vec())),
                _ => (option, Opinion::Reject),
            })
            .collect();
        match collect(&opinions) {
            // A peer without one is told one.
            Judgement::Ack if asked.is_none() => {
                let data = &fresh(entropy);
                Judgement::Nak(emit_options([ConfigOption { kind: IDENTIFIER, data }]))
            }
            Judgement::Ack => {
                self.peer = asked;
                Judgement::Ack
            }
            other => other,
        }
    }

    fn naked(&mut self, options: Options<'_>, entropy: &mut dyn Entropy) {
        for option in options.iter().filter(|o| o.kind == IDENTIFIER) {
            // One that is the peer's own, or none, would be refused by us.
            let given = identifier(option.data).filter(|i| *i != [0; 8] && Some(*i) != self.peer);
            self.ours = Some(given.unwrap_or_else(|| fresh(entropy)));
        }
    }

    /// Nothing is left to negotiate without it; what holds then is decided when the layer is up.
    fn rejected(&mut self, _: Options<'_>) {
        self.ours = Some([0; 8]);
    }
}
