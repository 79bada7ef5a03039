use adit_core::DecodeError;

/// A message between a client and a server of DHCPv6 (RFC 8415 §8).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dhcpv6Message<'a> {
    /// msg-type.
    pub kind: u8,
    /// transaction-id.
    pub transaction: [u8; 3],
    /// Options, in order: code and data.
    pub options: Vec<(u16, &'a [u8])>,
}

impl<'a> Dhcpv6Message<'a> {
    /// REPLY.
    pub const REPLY: u8 = 7;
    /// INFORMATION-REQUEST.
    pub const INFORMATION_REQUEST: u8 = 11;
    /// OPTION_CLIENTID.
    pub const CLIENT_ID: u16 = 1;
    /// OPTION_SERVERID.
    pub const SERVER_ID: u16 = 2;
    /// OPTION_IA_NA.
    pub const IA_NA: u16 = 3;
    /// OPTION_IA_TA.
    pub const IA_TA: u16 = 4;
    /// OPTION_ORO.
    pub const OPTION_REQUEST: u16 = 6;
    /// OPTION_ELAPSED_TIME.
    pub const ELAPSED_TIME: u16 = 8;
    /// OPTION_DNS_SERVERS (RFC 3646).
    pub const DNS_SERVERS: u16 = 23;
    /// OPTION_IA_PD.
    pub const IA_PD: u16 = 25;
    /// OPTION_INFORMATION_REFRESH_TIME.
    pub const REFRESH_TIME: u16 = 32;
    /// OPTION_INF_MAX_RT.
    pub const INF_MAX_RT: u16 = 83;

    /// Reads a message.
    ///
    /// # Errors
    /// It is too short, or an option is longer than the rest.
    pub fn parse(octets: &'a [u8]) -> Result<Self, DecodeError> {
        let ([kind, transaction @ ..], mut rest) = octets
            .split_first_chunk::<4>()
            .ok_or(DecodeError::new(0, "too short for a message of DHCPv6"))?;
        let mut options = Vec::new();
        while let Some(([a, b, c, d], more)) = rest.split_first_chunk::<4>() {
            let (data, more) = more
                .split_at_checked(usize::from(u16::from_be_bytes([*c, *d])))
                .ok_or(DecodeError::new(4, "an option is longer than the message"))?;
            options.push((u16::from_be_bytes([*a, *b]), data));
            rest = more;
        }
        match rest.is_empty() {
            true => Ok(Self { kind: *kind, transaction: *transaction, options }),
            false => Err(DecodeError::new(4, "an option is cut off")),
        }
    }

    /// The message's octets. An option that is longer than its length can say is left out.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut out = vec![self.kind];
        out.extend(self.transaction);
        for (code, data) in &self.options {
            let Ok(length) = u16::try_from(data.len()) else { continue };
            out.extend(code.to_be_bytes());
            out.extend(length.to_be_bytes());
            out.extend_from_slice(data);
        }
        out
    }

    /// The data of the first option of that code.
    #[must_use]
    pub fn option(&self, code: u16) -> Option<&'a [u8]> {
        self.options.iter().find(|(c, _)| *c == code).map(|(_, data)| *data)
    }
}
