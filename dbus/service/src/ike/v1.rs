//! IKEv1 beside IKEv2, on the same sockets: the major version in a message's header tells whose it is.

use std::sync::Arc;

use adit_core::{Entropy, Path, Transmit};
use adit_ikev1::Endpoint;
use adit_ikev1::api::{
    Answer, Ask, AskId, Event, InitiatorConfig, Input, Output, ResponderConfig, ResponderDefaults, Restored,
    Rules, SaId, Timer,
};
use adit_ikev2::api as v2;
use adit_isakmp::v1::Provider;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::answering::Answering;
use super::driver::{Pending, key_exchange};
use crate::clock;

/// Who answers for a connection of IKEv1's: whoever has dialled, or the server.
pub trait V1Context: Send + Sync {
    /// Answers a question of the core. Called on the driver's task: what takes time is [`Pending::Later`].
    fn ask(&self, sa: SaId, ask: Ask) -> Pending<Answer>;

    /// Takes note of an event. Called on the driver's task: never blocks.
    fn event(&self, sa: SaId, event: Event);

    /// Whether its connection is handed on to the next process: [`V1Context::hand_on`].
    fn hands_on(&self) -> bool {
        false
    }

    /// What the next process goes on from, before any datagram leaves that comes after it. `None`: from this moment nobody can.
    fn hand_on(&self, _sa: SaId, _snapshot: Option<&[u8]>) {}

    /// The connection goes on from a snapshot. Before any question or event of it.
    fn restored(&self, _restored: &Restored) {}
}

/// What may be asked of it.
pub(super) enum Command {
    Initiate(Box<InitiatorConfig>, Arc<dyn V1Context>, oneshot::Sender<SaId>),
    Restore(Zeroizing<Vec<u8>>, By, Arc<dyn V1Context>, oneshot::Sender<Option<Restored>>),
    Responder(Option<(ResponderDefaults, Arc<dyn V1Context>)>),
    Answer(AskId, Answer),
}

/// Who has dialled what goes on.
pub(super) enum By {
    Us(Box<InitiatorConfig>),
    Peer(Box<ResponderConfig>),
}

/// The endpoint, and who answers for what of it.
pub(super) struct V1 {
    endpoint: Endpoint,
    crypto: Arc<dyn Provider>,
    answering: Answering<dyn V1Context>,
    /// Datagrams that leave when what they come from is handed on to the next process.
    held: Vec<Transmit>,
}

impl V1 {
    pub(super) fn new(crypto: Arc<dyn Provider>, entropy: Box<dyn Entropy>) -> Self {
        let endpoint = Endpoint::new(Arc::clone(&crypto), entropy, None);
        Self { endpoint, crypto, answering: Answering::new(), held: Vec::new() }
    }

    /// Whether a datagram is for it.
    pub(super) fn is_of(payload: &[u8]) -> bool {
        // [2408:3.1]
        payload.get(17).is_some_and(|version| version >> 4 == 1)
    }

    /// What IKEv2's driver is told of one of these. `Err`: it is of IKEv2's.
    pub(super) fn input(input: v2::Input) -> Result<Input, v2::Input> {
        // Their names never meet.
        let is_v1 = |sa: SaId| sa.0 >> 63 == 1;
        Ok(match input {
            v2::Input::Close { sa } if is_v1(sa) => Input::Close { sa },
            v2::Input::CloseChild { sa, child } if is_v1(sa) => Input::CloseChild { sa, child },
            v2::Input::Rekey { sa, child } if is_v1(sa) => Input::Rekey { sa, child },
            v2::Input::Mapping { sa, remote } if is_v1(sa) => Input::Mapping { sa, remote },
            other => return Err(other),
        })
    }

    pub(super) fn deadline(&self) -> Option<(adit_core::Instant, Timer)> {
        self.endpoint.deadline()
    }

    pub(super) fn handle(&mut self, input: Input) {
        self.endpoint.handle(clock::now(), input);
    }

    pub(super) fn datagram(&mut self, path: Path, payload: Vec<u8>) {
        self.handle(Input::Datagram { path, payload });
    }

    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Initiate(config, context, reply) => {
                let sa = self.endpoint.initiate(clock::now(), *config);
                self.answering.dialled(sa, context);
                // Whoever wanted it has been stopped meanwhile.
                if reply.send(sa).is_err() {
                    self.handle(Input::Close { sa });
                }
            }
            Command::Restore(snapshot, by, context, reply) => {
                let rules = match &by {
                    By::Us(config) => Rules::Initiator(config),
                    By::Peer(config) => Rules::Responder(config),
                };
                let restored = self.endpoint.restore(clock::now(), &snapshot, rules);
                let sa = restored.as_ref().map(|restored| restored.sa);
                if let Some(restored) = &restored {
                    context.restored(restored);
                    self.answering.dialled(restored.sa, context);
                }
                if let (Err(_), Some(sa)) = (reply.send(restored), sa) {
                    self.handle(Input::Close { sa });
                }
            }
            Command::Responder(responder) => {
                let (defaults, server) = responder.unzip();
                self.endpoint.set_responder(defaults);
                // The core knows on which addresses, and whom we have dialled it hears everywhere.
                self.answering.serve(server);
            }
            Command::Answer(id, answer) => self.handle(Input::Answer { id, answer }),
        }
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.endpoint.poll()
    }

    /// It leaves with [`V1::leaving`].
    pub(super) fn hold(&mut self, transmit: Transmit) {
        self.held.push(transmit);
    }

    /// The next process could go on from here; then what waits for that leaves.
    pub(super) fn leaving(&mut self) -> Vec<Transmit> {
        while let Some(sa) = self.endpoint.take_touched() {
            if let Some(context) = self.answering.known(sa).filter(|context| context.hands_on()) {
                let snapshot = self.endpoint.snapshot(sa);
                context.hand_on(sa, snapshot.as_ref().map(|snapshot| snapshot.as_slice()));
            }
        }
        std::mem::take(&mut self.held)
    }

    pub(super) fn event(&mut self, sa: SaId, event: Event) {
        let closed = matches!(event, Event::Closed(_));
        if let Some(context) = self.answering.of(sa) {
            context.event(sa, event);
        }
        if closed {
            if let Some(context) = self.answering.known(sa).filter(|context| context.hands_on()) {
                context.hand_on(sa, None);
            }
            self.answering.forget(sa);
        }
    }

    /// Has a question answered. `None`: nobody is there to be asked.
    pub(super) fn ask(&mut self, sa: SaId, ask: Ask) -> Option<Pending<Answer>> {
        Some(match ask {
            Ask::Generate(method) => {
                let crypto = Arc::clone(&self.crypto);
                key_exchange(method, move || Answer::Generated(crypto.generate(method)))
            }
            Ask::Agree { key, peer } => key_exchange(key.method(), move || Answer::Agreed(key.agree(&peer))),
            Ask::Encapsulate { method, peer } => {
                let crypto = Arc::clone(&self.crypto);
                key_exchange(method, move || Answer::Encapsulated(crypto.encapsulate(method, &peer)))
            }
            other => self.answering.of(sa)?.ask(sa, other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_whose_an_input_is() {
        let (of_v1, of_v2) = (SaId(1 << 63), SaId(1));
        assert!(matches!(V1::input(v2::Input::Close { sa: of_v1 }), Ok(Input::Close { sa }) if sa == of_v1));
        assert!(
            matches!(V1::input(v2::Input::Close { sa: of_v2 }), Err(v2::Input::Close { sa }) if sa == of_v2)
        );
        assert!(matches!(
            V1::input(v2::Input::Rekey { sa: of_v1, child: None }),
            Ok(Input::Rekey { child: None, .. })
        ));
    }

    #[test]
    fn a_message_is_of_its_major_version() {
        let mut message = [0; 28];
        message[17] = 0x10;
        assert!(V1::is_of(&message));
        message[17] = 0x20;
        assert!(!V1::is_of(&message) && !V1::is_of(&message[..17]));
    }
}
