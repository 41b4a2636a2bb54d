use super::*;
use alloc::string::ToString as _;
use alloc::vec::Vec;

fn spec(name: &str) -> LaneSpec {
    let name = LaneName::new(name).expect("a name");
    LaneSpec { name, ..*LaneTable::STANDARD.get(DEFAULT_LANE).expect("the default lane") }
}

#[test]
fn the_standard_lanes_are_valid_and_found_by_name_and_number() {
    let table = LaneTable::default();
    assert_eq!(LaneTable::new(table.lanes), Ok(table));
    let names: Vec<_> = table.iter().map(|(number, lane)| (number, lane.name.to_string())).collect();
    let expected = ["control", "command", "event", "state", "stream", "bulk"];
    assert_eq!(names, (0..).zip(expected.map(Into::into)).collect::<Vec<_>>());
    assert_eq!((table.find("command"), table.find("nothing")), (Some(DEFAULT_LANE), None));
    assert_eq!((table.get(6), table.get(16), table.get(255)), (None, None, None));
    assert_eq!(table.get(3).map(|lane| (lane.kind, lane.policy)), Some((LaneKind::US, Policy::Conflate)));
}

#[test]
fn a_name_is_short_lowercase_and_begins_with_a_letter() {
    for good in ["a", "video-2", "sixteen_letters_", "a_b"] {
        assert_eq!(LaneName::new(good).expect("valid").as_str(), good);
    }
    for bad in ["", "2nd", "-a", "Video", "a b", "ä", "seventeen_letters"] {
        assert_eq!(LaneName::new(bad), Err(LaneError::NameInvalid), "{bad}");
    }
}

#[test]
fn a_table_that_contradicts_itself_is_refused_with_what_to_do() {
    let table = LaneTable::STANDARD;
    let video = spec("video");
    let error = |lane: LaneSpec| table.with(6, Some(lane)).expect_err("invalid");
    assert!(table.with(15, Some(video)).is_ok());
    assert!(table.with(5, None).is_ok_and(|table| table.find("bulk").is_none()));
    assert_eq!(table.with(16, Some(video)), Err(LaneError::NumberTooLarge(16)));
    assert_eq!(error(spec("bulk")), LaneError::NameTaken(spec("bulk").name));
    assert_eq!(error(LaneSpec { class: 8, ..video }), LaneError::ClassTooLarge(video.name));
    assert_eq!(error(LaneSpec { weight: 0, ..video }), LaneError::WeightZero(video.name));
    assert_eq!(error(LaneSpec { rate_bytes_per_s: 9, ..video }), LaneError::RatesDiffer(video.name));
    for kind in LaneKind::ALL {
        for policy in Policy::ALL {
            let waits = matches!(policy, Policy::Block | Policy::Disconnect);
            let fits = table.with(6, Some(LaneSpec { kind, policy, ..video }));
            assert_eq!(fits.is_err(), waits && !kind.is_reliable(), "{kind} {policy}: {fits:?}");
        }
    }
    assert!(LaneError::NameTaken(video.name).to_string().contains("video"));
}

#[test]
fn the_control_lane_may_get_another_queue_but_no_other_promise() {
    let table = LaneTable::STANDARD;
    let control = *table.get(CONTROL_LANE).expect("lane 0");
    assert!(table.with(0, Some(LaneSpec { queue_bytes: 4_096, ..control })).is_ok());
    for changed in [
        None,
        Some(spec("control")),
        Some(LaneSpec { class: 1, ..control }),
        Some(LaneSpec { ttl_ms: 1, ..control }),
        Some(LaneSpec { rate_bytes_per_s: 1, ..control }),
    ] {
        assert_eq!(table.with(0, changed), Err(LaneError::ControlChanged), "{changed:?}");
    }
}

#[cfg(feature = "control")]
#[test]
fn a_lane_survives_the_way_through_hello() {
    use crate::control::Lane;

    let odd = LaneSpec { class: 7, weight: 255, ttl_ms: 9, queue_bytes: 8, rate_bytes_per_s: 7, ..spec("odd") };
    for (number, lane) in LaneTable::STANDARD.iter().chain([(15, &odd)]) {
        assert_eq!(Lane::new(number, lane).spec(), Ok((number, *lane)));
    }
    let good = Lane::new(6, &odd);
    assert_eq!(Lane { kind: 4, ..good.clone() }.spec(), Err(LaneError::KindUnknown));
    assert_eq!(Lane { overflow: 0, ..good.clone() }.spec(), Err(LaneError::PolicyUnknown));
    assert_eq!(Lane { name: "".into(), ..good.clone() }.spec(), Err(LaneError::NameInvalid));
    let (number, lane) = Lane { id: 256 + 6, prio: 256 + 7, ..good }.spec().expect("numbers are judged by the table");
    assert_eq!(LaneTable::STANDARD.with(number, Some(lane)), Err(LaneError::NumberTooLarge(255)));
    assert_eq!(LaneTable::STANDARD.with(6, Some(lane)), Err(LaneError::ClassTooLarge(lane.name)));
}

#[test]
fn the_reliable_lanes_are_those_whose_kind_says_so_and_that_carry_data() {
    assert_eq!(LaneTable::STANDARD.reliable(), 1 << 1 | 1 << 2 | 1 << 5);
}
