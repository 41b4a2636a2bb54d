use std::io;

use laneway_proto::error::{CloseCode, PeerFault};

use super::*;
use crate::endpoint::Endpoint;

fn lost_by(code: CloseCode) -> Lost {
    Lost::Goodbye(Reason::new(code.number(), String::new()))
}

#[test]
fn every_close_code_has_its_class_and_only_passing_trouble_is_retryable() {
    for code in CloseCode::ALL {
        let reason = Reason::new(code.number(), String::new());
        let passes = matches!(reason.class(), Class::Transient | Class::Limit);
        assert_eq!(reason.retryable(), passes, "{code}");
    }
    assert_eq!(lost_by(CloseCode::SlowConsumer).class(), Class::Transient);
    assert_eq!(lost_by(CloseCode::Denied).class(), Class::Permanent);
    assert_eq!(lost_by(CloseCode::Limit).class(), Class::Limit);
    assert_eq!(Lost::Fault(PeerFault::TopicUndeclared).class(), Class::Protocol);
    let silent = Lost::Silent(std::time::Duration::from_secs(3));
    assert_eq!((silent.class(), silent.retryable()), (Class::Transient, true));
    let slow = Lost::Fault(PeerFault::PartialFrameTimeout);
    assert_eq!((slow.class(), slow.retryable()), (Class::Transient, true));
    let newer = Reason::new(77, "because".into());
    assert_eq!((newer.code(), newer.retryable(), newer.to_string()), (None, false, "code 77: because".into()));
}

#[test]
fn errors_of_the_operating_system_are_sorted_by_cause() {
    use io::ErrorKind as Kind;
    let sorted =
        |kind: Kind| ConnectError::from_io(Endpoint::Tcp { host: "lab".into(), port: 1 }, io::Error::from(kind));
    for (kind, class, name) in [
        (Kind::ConnectionRefused, Class::Transient, "Refused"),
        (Kind::NotFound, Class::Transient, "Refused"),
        (Kind::HostUnreachable, Class::Transient, "Unreachable"),
        (Kind::NetworkUnreachable, Class::Transient, "Unreachable"),
        (Kind::PermissionDenied, Class::Permanent, "Io"),
        (Kind::ConnectionReset, Class::Transient, "Io"),
    ] {
        let error = sorted(kind);
        assert_eq!(error.class(), class, "{kind}");
        assert_eq!(error.retryable(), class == Class::Transient, "{kind}");
        assert!(format!("{error:?}").starts_with(name), "{kind}: {error:?}");
    }
}

#[test]
fn every_message_says_what_to_do() {
    let texts = [
        Lost::Ended.to_string(),
        PublishError::TooLarge { bytes: 2, bytes_max: 1 }.to_string(),
        PublishError::TooManyTopics { topics_max: 9 }.to_string(),
        SubscribeError::TooMany { filters_max: 9 }.to_string(),
        FlushError::TooManyPending { pending_max: 9 }.to_string(),
        TryPublishError::Full.to_string(),
        Lost::Silent(std::time::Duration::from_secs(3)).to_string(),
        FlushError::MaybeDelivered { messages: 3 }.to_string(),
        CloseError::MaybeDelivered { messages: 3 }.to_string(),
        ConfirmError::MaybeDelivered(Doubt::LinkLost).to_string(),
        PublishError::NoConfirms.to_string(),
        PublishError::LaneLoses(crate::lane::Lane::STATE).to_string(),
        Lost::Overtaken.to_string(),
    ];
    for text in texts {
        assert!(text.contains("; "), "no remedy in: {text}");
    }
}
