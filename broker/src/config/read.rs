//! From a file's text to [`Settings`], collecting every mistake instead of stopping at the first.

use toml::de::{DeTable, DeValue};

use super::{KEYS, Key, Kind, Mistake, Settings};

/// Reads a file over the defaults.
pub fn read(text: &str) -> Result<Settings, Vec<Mistake>> {
    let mut reader = Reader { text, settings: Settings::default(), mistakes: Vec::new() };
    match DeTable::parse(text) {
        Ok(table) => reader.table("", table.get_ref()),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            reader.mistake(at, "", format!("{}; correct the TOML syntax", error.message()));
        }
    }
    reader.check_neighbours();
    if reader.mistakes.is_empty() {
        Ok(reader.settings)
    } else {
        reader.mistakes.sort_by_key(|mistake| mistake.line);
        Err(reader.mistakes)
    }
}

struct Reader<'a> {
    text: &'a str,
    settings: Settings,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn mistake(&mut self, at: usize, key: &str, text: impl Into<String>) {
        let line = 1 + self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|&&byte| byte == b'\n').count();
        self.mistakes.push(Mistake { line, key: key.into(), text: text.into() });
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let at = name.span().start;
            let key =
                if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            let known = KEYS.iter().find(|known| known.name == key);
            let is_table = KEYS.iter().any(|known| known.name.starts_with(&format!("{key}.")));
            match (known, value.get_ref()) {
                (Some(known), value) => {
                    if let Err(text) = set(&mut self.settings, known, value) {
                        self.mistake(at, &key, text);
                    }
                }
                (None, DeValue::Table(inner)) if is_table => self.table(&key, inner),
                (None, _) if is_table => {
                    self.mistake(at, &key, format!("this is a table; write [{key}] and its keys below"))
                }
                (None, _) => {
                    let remedy = nearest(&key).map_or_else(
                        || "remove it; configs/lanewayd.toml lists every key".into(),
                        |near| format!("did you mean '{near}'?"),
                    );
                    self.mistake(at, &key, format!("unknown key; {remedy}"));
                }
            }
        }
    }

    /// Bounds that hold between keys.
    fn check_neighbours(&mut self) {
        let shape = self.settings.pools.shape;
        let limits = self.settings.limits;
        if shape.ingress_buffers > shape.ingress_buffers_max {
            let at = self.find("ingress_buffers");
            self.mistake(
                at,
                "pools.ingress_buffers",
                "more than pools.ingress_buffers_max; lower it or raise the other",
            );
        }
        if limits.session_topics_max > limits.topics_max {
            let at = self.find("topics_max");
            self.mistake(
                at,
                "limits.topics_max",
                "smaller than limits.session_topics_max; raise it or lower the other",
            );
        }
        if self.settings.listen.is_empty() {
            let at = self.find("listen");
            self.mistake(at, "listen", "no endpoint to listen on; name at least one, as in [\"tcp://127.0.0.1:5263\"]");
        }
        if self.settings.peers.known_only && self.settings.peers.allow.is_empty() {
            let at = self.find("known_only");
            self.mistake(at, "peers.known_only", "no peer could connect; add rules to peers.allow or set it to false");
        }
    }

    fn find(&self, key: &str) -> usize {
        let mut at = 0;
        for line in self.text.split_inclusive('\n') {
            if line.trim_start().starts_with(key) {
                return at;
            }
            at += line.len();
        }
        0
    }
}

fn set(settings: &mut Settings, key: &Key, value: &DeValue<'_>) -> Result<(), String> {
    match key.kind {
        Kind::Number { min, max, place } => *place(settings) = whole(value, min, max)?,
        Kind::Short { min, max, place } => {
            *place(settings) = whole(value, u32::from(min), u32::from(max))? as u16;
        }
        Kind::Flag(place) => {
            let DeValue::Boolean(flag) = value else { return Err("not a switch; write true or false".into()) };
            *place(settings) = *flag;
        }
        Kind::Text(store, _) => {
            let DeValue::String(text) = value else { return Err("not a text; put it in double quotes".into()) };
            store(settings, text)?;
        }
        Kind::Texts(store, _) => {
            let help = "not a list of texts; write it as [\"one\", \"two\"]";
            let DeValue::Array(list) = value else { return Err(help.into()) };
            store(settings, None)?;
            for element in list {
                let DeValue::String(text) = element.get_ref() else { return Err(help.into()) };
                store(settings, Some(text)).map_err(|error| format!("'{text}': {error}"))?;
            }
        }
    }
    Ok(())
}

fn whole(value: &DeValue<'_>, min: u32, max: u32) -> Result<u32, String> {
    let help = || format!("not a whole number from {min} to {max}; choose one");
    let DeValue::Integer(number) = value else { return Err(help()) };
    let number = i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).map_err(|_| help())?;
    u32::try_from(number)
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("{number} is out of bounds; choose a whole number from {min} to {max}"))
}

/// The known key that differs least, if it is close.
fn nearest(key: &str) -> Option<&'static str> {
    let last = |text: &'static str| text.rsplit('.').next().unwrap_or(text);
    KEYS.iter()
        .map(|known| (distance(key, known.name).min(distance(key, last(known.name)) + 1), known.name))
        .min()
        .filter(|&(distance, _)| distance <= 1 + key.len() / 4)
        .map(|(_, name)| name)
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_with_its_line_and_a_remedy() {
        let text = "shards = 99\npin = 1\n\n[limits]\nblock_ms = 5\nconnections_max = \"many\"\n[extra]\na = 1\n";
        let mistakes = read(text).expect_err("mistakes");
        let found: Vec<(usize, &str)> = mistakes.iter().map(|mistake| (mistake.line, mistake.key.as_str())).collect();
        assert_eq!(
            found,
            [(1, "shards"), (2, "pin"), (5, "limits.block_ms"), (6, "limits.connections_max"), (7, "extra")]
        );
        assert!(mistakes[2].text.contains("limits.block_ms_max"), "{}", mistakes[2].text);
    }

    #[test]
    fn bounds_between_keys_are_checked() {
        let text = "listen = []\n[pools]\ningress_buffers = 64\ningress_buffers_max = 32\n[peers]\nknown_only = true\n";
        let mistakes = read(text).expect_err("mistakes");
        let lines: Vec<usize> = mistakes.iter().map(|mistake| mistake.line).collect();
        assert_eq!(lines, [1, 3, 6]);
    }

    #[test]
    fn broken_toml_is_one_mistake_with_a_line() {
        let mistakes = read("pin = true\nshards = = 2\n").expect_err("broken");
        assert_eq!(mistakes.len(), 1);
        assert_eq!(mistakes[0].line, 2);
    }

    #[test]
    fn a_good_file_changes_only_what_it_names() {
        let text = "listen = [\"tcp://127.0.0.1:0\"]\n[limits]\nblock_ms_max = 0x10\n[unix]\nmode = \"660\"\n";
        let settings = read(text).expect("good");
        assert_eq!((settings.limits.block_ms_max, settings.unix.mode), (16, 0o660));
        let expected = Settings {
            listen: settings.listen.clone(),
            limits: super::super::Limits { block_ms_max: 16, ..Settings::default().limits },
            unix: super::super::Unix { mode: 0o660, ..Settings::default().unix },
            ..Settings::default()
        };
        assert_eq!(settings, expected);
    }
}
