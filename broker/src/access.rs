//! Who may open a session: a pure function of the rules and what is known of the peer.

use std::net::IpAddr;

use laneway_proto::error::CloseCode;
use laneway_proto::session::handshake::Refusal;

use crate::config::peers::{PeerRules, Rule};
use crate::io::PeerAddress;

/// Whether a peer may come in.
pub fn admit(rules: &PeerRules, address: &PeerAddress, node_id: &[u8]) -> Result<(), Refusal> {
    // A link to all was asked for where the broker listens; who is heard there has no name.
    let is_own = matches!(address, PeerAddress::All(_));
    if !rules.known_only || is_own || rules.allow.iter().any(|rule| knows(rule, address, node_id)) {
        return Ok(());
    }
    Err(Refusal {
        code: CloseCode::Denied,
        reason: "this peer is not on the broker's list; add its node id, user or address to peers.allow",
    })
}

fn knows(rule: &Rule, address: &PeerAddress, node_id: &[u8]) -> bool {
    match (rule, address) {
        (Rule::Node(id), _) => node_id == id,
        (Rule::Uid(uid), PeerAddress::Unix { uid: peer, .. }) => uid == peer,
        (Rule::Cidr { network, bits }, PeerAddress::Tcp(peer) | PeerAddress::Udp(peer)) => {
            contains(*network, *bits, peer.ip())
        }
        (Rule::Uid(_) | Rule::Cidr { .. }, _) => false,
    }
}

fn contains(network: IpAddr, bits: u8, peer: IpAddr) -> bool {
    let (network, peer, width) = match (network, peer) {
        (IpAddr::V4(network), IpAddr::V4(peer)) => (u128::from(network.to_bits()), u128::from(peer.to_bits()), 32),
        (IpAddr::V6(network), IpAddr::V6(peer)) => (network.to_bits(), peer.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let ignored: u32 = width - u32::from(bits);
    ignored == 128 || network >> ignored == peer >> ignored
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(ip: &str) -> PeerAddress {
        PeerAddress::Tcp((ip.parse::<IpAddr>().expect("an address"), 1).into())
    }

    fn rules(allow: &[&str]) -> PeerRules {
        let allow = allow.iter().map(|rule| Rule::parse(rule).expect("a rule")).collect();
        PeerRules { known_only: true, allow, ..PeerRules::default() }
    }

    #[test]
    fn an_address_range_knows_exactly_its_addresses() {
        let rules = rules(&["cidr:10.1.0.0/16", "cidr:fd00::/8"]);
        for (ip, known) in [("10.1.255.1", true), ("10.2.0.1", false), ("fd12::1", true), ("fe80::1", false)] {
            assert_eq!(admit(&rules, &tcp(ip), &[]).is_ok(), known, "{ip}");
        }
        assert!(admit(&self::rules(&["cidr:0.0.0.0/0"]), &tcp("8.8.8.8"), &[]).is_ok());
        assert!(admit(&self::rules(&["cidr:::/0"]), &tcp("::1"), &[]).is_ok());
        assert!(admit(&self::rules(&["cidr:0.0.0.0/0"]), &tcp("::1"), &[]).is_err());
    }

    #[test]
    fn users_and_node_ids_are_known_by_equality() {
        let rules = rules(&["uid:1000", "node:000102030405060708090a0b0c0d0e0f"]);
        let id: Vec<u8> = (0..16).collect();
        assert!(admit(&rules, &PeerAddress::Unix { uid: 1000, pid: 1 }, &[]).is_ok());
        assert!(admit(&rules, &PeerAddress::Unix { uid: 0, pid: 1 }, &[]).is_err());
        assert!(admit(&rules, &tcp("127.0.0.1"), &id).is_ok());
        assert!(admit(&rules, &tcp("127.0.0.1"), &[0; 16]).is_err());
        let open = PeerRules::default();
        assert!(admit(&open, &PeerAddress::Unknown, &[]).is_ok(), "everybody is welcome by default");
    }
}
