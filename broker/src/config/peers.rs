//! Who may connect: everybody, or a known list by node id, user or address range.

use std::net::IpAddr;

use laneway_proto::limits::NODE_ID_BYTES;

/// One way to be known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// The node id the peer states.
    Node([u8; NODE_ID_BYTES]),
    /// The user behind a Unix socket, as the kernel tells.
    Uid(u32),
    /// The peer's IP address lies in this range.
    Cidr {
        /// Any address of the range.
        network: IpAddr,
        /// Leading bits that count.
        bits: u8,
    },
}

/// The list and whether it is in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerRules {
    /// Tell everybody who asks on `$sys/peer/+` who is there.
    pub presence: bool,
    /// Refuse peers that no rule knows.
    pub known_only: bool,
    /// The rules; one match is enough.
    pub allow: Vec<Rule>,
}

impl Default for PeerRules {
    fn default() -> Self {
        Self { presence: true, known_only: false, allow: Vec::new() }
    }
}

impl Rule {
    /// Reads `node:32 hex digits`, `uid:N` or `cidr:address/bits`; the error says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("node", id)) => {
                parse_node_id(id).map(Self::Node).ok_or_else(|| "a node id has 32 hexadecimal digits".into())
            }
            Some(("uid", uid)) => uid.parse().map(Self::Uid).map_err(|_| format!("'{uid}' is not a user number")),
            Some(("cidr", range)) => parse_cidr(range),
            Some(_) | None => Err("a rule is 'node:ID', 'uid:N' or 'cidr:ADDRESS/BITS'".into()),
        }
    }

    /// The text that [`Self::parse`] reads.
    pub fn text(&self) -> String {
        match self {
            Self::Node(id) => format!("node:{}", node_id_text(id)),
            Self::Uid(uid) => format!("uid:{uid}"),
            Self::Cidr { network, bits } => format!("cidr:{network}/{bits}"),
        }
    }
}

/// Reads 32 hexadecimal digits.
pub fn parse_node_id(text: &str) -> Option<[u8; NODE_ID_BYTES]> {
    let number = u128::from_str_radix(text, 16).ok()?;
    (text.len() == NODE_ID_BYTES * 2).then(|| number.to_be_bytes())
}

/// Writes 32 hexadecimal digits.
pub fn node_id_text(id: &[u8; NODE_ID_BYTES]) -> String {
    format!("{:032x}", u128::from_be_bytes(*id))
}

fn parse_cidr(range: &str) -> Result<Rule, String> {
    let help = || format!("'{range}' is not an address range; write it as 192.168.1.0/24 or fd00::/8");
    let (address, bits) = range.split_once('/').ok_or_else(help)?;
    let network: IpAddr = address.parse().map_err(|_| help())?;
    let bits: u8 = bits.parse().map_err(|_| help())?;
    let bits_max = if network.is_ipv4() { 32 } else { 128 };
    if bits > bits_max {
        return Err(help());
    }
    Ok(Rule::Cidr { network, bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_written_the_same() {
        for text in ["node:000102030405060708090a0b0c0d0e0f", "uid:1000", "cidr:192.168.0.0/16", "cidr:fd00::/8"] {
            assert_eq!(Rule::parse(text).map(|rule| rule.text()).as_deref(), Ok(text));
        }
        for text in ["node:12", "uid:me", "cidr:1.2.3.4", "cidr:1.2.3.4/33", "ip:1.2.3.4", "everybody"] {
            assert!(Rule::parse(text).is_err(), "{text}");
        }
    }
}
