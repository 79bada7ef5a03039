use core::time::Duration;

use super::{Notify, NotifyType};

/// TICKET_LT_OPAQUE: a ticket with which a session can be resumed, and how long (RFC 5723 §7.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TicketLtOpaque {
    /// Seconds from now.
    pub lifetime: u32,
    /// What only its maker understands; at least one byte.
    pub ticket: Vec<u8>,
}

impl TicketLtOpaque {
    /// Reads the data of the notification. `None`: it has no ticket.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        // [5723:7.2-1]
        let (lifetime, ticket) = data.split_first_chunk::<4>()?;
        let lifetime = u32::from_be_bytes(*lifetime);
        (!ticket.is_empty()).then(|| Self { lifetime, ticket: ticket.to_vec() })
    }

    /// The notification.
    #[must_use]
    pub fn notify(&self) -> Notify {
        // [5723:7.2-1]
        let data = [&self.lifetime.to_be_bytes()[..], &self.ticket].concat();
        Notify::new(NotifyType::TICKET_LT_OPAQUE, data)
    }

    /// How long it can be used.
    #[must_use]
    pub const fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // [5723:7.2-1]
    #[test]
    fn the_lifetime_stands_before_the_ticket() {
        let ticket = TicketLtOpaque { lifetime: 3600, ticket: b"opaque".to_vec() };
        let notify = ticket.notify();
        assert_eq!((notify.kind, &notify.data[..]), (NotifyType(16409), &b"\0\0\x0e\x10opaque"[..]));
        assert_eq!(TicketLtOpaque::parse(&notify.data), Some(ticket));
        assert_eq!((TicketLtOpaque::parse(b"\0\0\0"), TicketLtOpaque::parse(b"\0\0\0\x01")), (None, None));
    }

    proptest! {
        #[test]
        fn there_and_back(data in proptest::collection::vec(any::<u8>(), 5..300)) {
            prop_assert_eq!(TicketLtOpaque::parse(&data).unwrap().notify().data, data);
        }
    }
}
