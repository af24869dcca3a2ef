//! Every mistake is told with its line, its key and a remedy.

use std::path::Path;

use crosspoint_base::Rng;
use crosspoint_gateway::config::{Config, ConfigError, Origins};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("crosspoint.toml"))
}

#[test]
fn an_empty_text_is_a_complete_configuration() {
    let config = parse("").unwrap();
    let listeners: Vec<String> =
        config.listeners.iter().map(|l| format!("{} {}", l.transport, l.address)).collect();
    assert_eq!(listeners, ["UDP 0.0.0.0:5060", "TCP 0.0.0.0:5060", "TLS 0.0.0.0:5061"]);
    assert_eq!(config.http.listen, "0.0.0.0:8443".parse().unwrap());
    assert_eq!(config.http.allowed_origins, Origins::Same);
    assert_eq!(config.numbers.keys().collect::<Vec<_>>(), ["600", "601", "602", "603"]);
    assert_eq!(config.general.realm, "crosspoint");
}

#[test]
fn reads_what_is_written() {
    let config = parse(
        r#"
        [[listener]]
        transport = "wss"
        address = "[::1]:0"
        [numbers]
        echo = "*99"
        "#,
    );
    let errors = config.unwrap_err();
    assert_eq!(errors.problems[0].key, "numbers.echo", "* cannot be dialled by name");

    let config = parse(
        r#"
        [[listener]]
        transport = "wss"
        address = "[::1]:0"
        [numbers]
        echo = "999"
        tone = ""
        [[trunk]]
        name = "a"
        host = "192.0.2.1"
        strip = 1
        prepend = "+49"
        [media]
        rtp_ports = "2000-2100"
        "#,
    )
    .unwrap();
    assert_eq!(config.listeners[0].address, "[::1]:0".parse().unwrap());
    assert_eq!(config.numbers.keys().collect::<Vec<_>>(), ["602", "603", "999"]);
    assert_eq!(config.trunks[0].rewrite.apply("030"), Some("+4930".to_owned()));
    assert_eq!(config.media.rtp_ports, 2000..=2100);
}

/// Text, then line and key of the only problem, a piece of its message and a piece of the remedy.
const MISTAKES: [(&str, usize, &str, &str, &str); 50] = [
    ("[general", 1, "", "not TOML", "syntax"),
    ("a = 1\na = 2", 2, "", "not TOML", "syntax"),
    ("[genral]", 1, "genral", "not known", "general"),
    ("[general]\n\nrealms = \"x\"", 3, "general.realms", "not known", "realm"),
    ("[general]\nzzz = 1", 2, "general.zzz", "not known", "known here: country"),
    ("[general]\nrealm = 5", 2, "general.realm", "a number", "a string in quotes"),
    ("[general]\nrealm = \"a:b\"", 2, "general.realm", "cannot be a realm", "colons"),
    ("[general]\ndomains = \"x\"", 2, "general.domains", "a string", "list"),
    ("[general]\ndomains = [\"ok\", \"a b\"]", 2, "general.domains[1]", "host name", "example.com"),
    ("general = 1", 1, "general", "a number", "[general]"),
    ("[log]\nformat = \"jsn\"", 2, "log.format", "not known", "write \"json\""),
    ("[log]\nlevel = \"loud\"", 2, "log.level", "not known", "error, warn, info"),
    ("[listener]", 1, "listener", "a section", "[[listener]]"),
    ("[[listener]]\naddress = \"0.0.0.0:1\"", 1, "listener[0]", "transport is missing", "udp"),
    ("[[listener]]\ntransport = \"udp\"", 1, "listener[0]", "address is missing", "0.0.0.0:5060"),
    (
        "[[listener]]\ntransport = \"udp\"\naddress = \"5060\"",
        3,
        "listener[0].address",
        "not an IP address with a port",
        "0.0.0.0:5060",
    ),
    (
        "[[listener]]\ntransport = \"tcp\"\naddress = \"0.0.0.0:1\"\n\
         [[listener]]\ntransport = \"tls\"\naddress = \"0.0.0.0:1\"",
        6,
        "listener[1].address",
        "taken by a listener",
        "of its own",
    ),
    ("[http]\ntls = \"yes\"", 2, "http.tls", "a string", "true or false"),
    (
        "[http]\nallowed_origins = [\"example.com\"]",
        2,
        "http.allowed_origins[0]",
        "origin",
        "https:",
    ),
    ("[tls]\ncertificate = \"c.pem\"\nkey = \"no.pem\"", 2, "tls.certificate", "c.pem", "create"),
    ("[media]\naddresses = [\"0.0.0.0\"]", 2, "media.addresses[0]", "not an address", "NAT"),
    ("[media]\nrtp_ports = \"20-10\"", 2, "media.rtp_ports", "not a range", "10000-19999"),
    ("[limits]\ncalls = 0", 2, "limits.calls", "number", "1 to 1000000"),
    ("[media]\ntimeout = \"1s\"", 2, "media.timeout", "out of range", "at least 5s"),
    ("[timers]\nring = \"two\"", 2, "timers.ring", "not a length of time", "ms, s, m or h"),
    ("[numbers]\ntone = \"600\"", 2, "numbers.tone", "another meaning", "another number"),
    ("[[trunk]]\nhost = \"a\"", 1, "trunk[0]", "name is missing", "carrier"),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"a\"\ntransport = \"tls\"\n\
         [[trunk]]\nname = \"b\"\nhost = \"a\"\ntransport = \"tls\"\ntls_ca = \"Cargo.toml\"",
        5,
        "trunk[1]",
        "at the same place with other certificates",
        "places of their own",
    ),
    ("[[trunk]]\nname = \"a\"\nhost = \"a:5060\"", 3, "trunk[0].host", "not a host", "port"),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"a\"\nmatch = \"(\"",
        4,
        "trunk[0].match",
        "not a regular expression",
        "write a regular expression",
    ),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"a\"\npassword = \"x\"",
        1,
        "trunk[0]",
        "passwords do not belong",
        "password_file",
    ),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"a\"\nusername = \"x\"",
        4,
        "trunk[0].username",
        "no password",
        "password_file",
    ),
    ("[general]\ncountry = \"xx\"", 2, "general.country", "no country", "one of ae"),
    ("[general]\ntime_zone = \"Berlin\"", 2, "general.time_zone", "no time zone", "Europe/Berlin"),
    ("[[hours]]\nname = \"a\"\nopen = [\"mon 8\"]", 3, "hours[0].open[0]", "no time", "mon-fri"),
    ("[[hours]]\nname = \"a\"\nclosed = [\"13-13\"]", 3, "hours[0].closed[0]", "no date", "12-25"),
    ("[[group]]\nname = \"a\"", 1, "group[0]", "members is missing", "alice"),
    ("[[group]]\nname = \"a\"\nmembers = []", 1, "group[0]", "without members", "at least one"),
    ("[[route]]\nname = \"a\"", 1, "route[0]", "to is missing", "trunk:carrier"),
    (
        "[[route]]\nname = \"a\"\nto = [\"trunk:x\"]",
        3,
        "route[0].to[0]",
        "no trunk",
        "correct the name",
    ),
    (
        "[[route]]\nname = \"a\"\nto = [\"echo\"]\nhours = \"x\"",
        4,
        "route[0].hours",
        "no [[hours]]",
        "correct the name",
    ),
    ("[[route]]\nname = \"a\"\nto = [\"alice\"]", 3, "route[0].to[0]", "no place", "user:"),
    (
        "[[route]]\nname = \"a\"\nto = [\"echo\"]\nprice = \"1\"",
        4,
        "route[0].price",
        "not a number",
        "without quotes",
    ),
    (
        "[[permission]]\nname = \"a\"\ninternational = false",
        1,
        "permission[0]",
        "what is abroad",
        "[general]",
    ),
    ("[rtcengine]\nresume_window = \"1h\"", 2, "rtcengine.resume_window", "out of range", "601s"),
    ("[rtcengine]\ntoken_lifetime = 5", 2, "rtcengine.token_lifetime", "a number", "quotes"),
    (
        "[rtcengine]\nprovisioning_user = \"x\"",
        2,
        "rtcengine.provisioning_user",
        "no password",
        "provisioning_password_file = ",
    ),
    (
        "[rtcengine]\nprovisioning_password = \"x\"",
        1,
        "rtcengine",
        "passwords do not belong",
        "provisioning_password_file",
    ),
    (
        "[rtcengine]\nprovisioning_password_file = \"none\"",
        2,
        "rtcengine.provisioning_password_file",
        "cannot be read",
        "create the file",
    ),
    (
        "[rtcengine]\nprovisioning_user = \"x\"\nprovisioning_password_env = \"NO_SUCH_NAME\"",
        3,
        "rtcengine.provisioning_password_env",
        "no variable",
        "provisioning_password_file",
    ),
];

#[test]
fn each_mistake_is_told_with_line_key_and_remedy() {
    for (text, line, key, message, remedy) in MISTAKES {
        let error = parse(text).expect_err(text);
        let problem = error
            .problems
            .iter()
            .find(|p| p.message.contains(message))
            .unwrap_or_else(|| panic!("{text}\n{error}"));
        assert_eq!((problem.line, problem.key.as_str()), (line, key), "{text}\n{error}");
        assert!(problem.remedy.contains(remedy), "{text}\n{error}");
        assert!(problem.column >= 1);
        let printed = error.to_string();
        assert!(printed.starts_with(&format!("crosspoint.toml:{}:", error.problems[0].line)));
    }
}

#[test]
fn all_mistakes_are_told_at_once_in_their_order() {
    let error = parse("[log]\nlevel = 1\n[http]\nlisten = \"x\"\ntlss = true").unwrap_err();
    let lines: Vec<usize> = error.problems.iter().map(|p| p.line).collect();
    assert_eq!(lines, [2, 4, 5]);
    assert_eq!(error.to_json()["errors"][2]["remedy"], "did you mean tls?");
}

#[test]
fn a_provisioning_login_that_is_easy_to_guess_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p"), "letmein\n").unwrap();
    let text = "[rtcengine]\nprovisioning_user = \"a:b\"\nprovisioning_password_file = \"p\"";
    let error = Config::parse(text, &folder.path().join("crosspoint.toml")).unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
    assert!(error.problems[0].message.contains("less than 16"), "{error}");
    assert!(error.problems[1].message.contains("name of a login"), "{error}");
    assert!(!error.to_string().contains("letmein"));
}

#[test]
fn a_file_that_is_no_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["c.pem", "k.pem"] {
        std::fs::write(folder.path().join(name), "hello").unwrap();
    }
    let file = folder.path().join("crosspoint.toml");
    let error =
        Config::parse("[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"", &file).unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
    assert!(error.problems[0].message.contains("holds no certificate"), "{error}");
}

/// The sample with every `# key = value` and `# [[section]]` line brought to life.
fn sample_in_full() -> String {
    include_str!("../../src/cli/sample.toml")
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if rest.starts_with('[') || (rest.contains(" = ") && !rest.contains("_env")) =>
            {
                rest
            }
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_sample_is_in_order_as_it_stands_and_in_full() {
    parse(include_str!("../../src/cli/sample.toml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let tls = rcgen::generate_simple_self_signed(vec!["gw.test".to_owned()]).unwrap();
    for (certificate, key) in [("cert.pem", "key.pem"), ("trunk.pem", "trunk.key")] {
        write(certificate, &tls.cert.pem());
        write(key, &tls.signing_key.serialize_pem());
    }
    write("carrier.password", "secret\n");
    write("pbx.password", "secret\n");
    write("ca.pem", "-----BEGIN CERTIFICATE-----");
    write("provisioning.password", "a long enough secret\n");
    write("turn.secret", "a long enough secret\n");
    write("admin.token", "a-long-enough-token\n");
    write("stream.token", "a-long-enough-token\n");
    write("back-office.token", "a-long-enough-token\n");
    write("introspection.secret", "secret\n");
    write("agents-ca.pem", "-----BEGIN CERTIFICATE-----");
    write("acme-ca.pem", &tls.cert.pem());
    write("oidc.secret", "secret\n");
    write("id-ca.pem", &tls.cert.pem());
    write("crm.secret", "a long enough secret\n");
    write("cdr.password", "secret\n");
    write("db-ca.pem", &tls.cert.pem());
    write("crm-ca.pem", &tls.cert.pem());
    write("rates.csv", "4930,0.005\n");
    let made = rcgen::generate_simple_self_signed(vec!["shaken".to_owned()]).unwrap();
    write("shaken.key", &made.signing_key.serialize_pem());
    write("shaken.pem", &made.cert.pem());
    write("authorities.pem", &made.cert.pem());
    let config = Config::parse(&sample_in_full(), &folder.path().join("crosspoint.toml"));
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.listeners.len(), 3);
    let credentials = config.trunks[0].credentials.as_ref().unwrap();
    assert_eq!(credentials.password.expose(), "secret");
    let oidc = config.console.oidc.unwrap();
    assert_eq!((oidc.client.as_str(), oidc.roles.operator), ("crosspoint", vec!["noc".to_owned()]));
    let login = config.rtcengine.provisioning.unwrap();
    assert_eq!((login.username.as_str(), login.password.expose().len()), ("portal", 20));
}

/// The reader names all keys of a section when it meets one that resembles none of them.
#[test]
fn the_sample_and_the_document_name_every_option() {
    let document = include_str!("../../../../docs/configuration.md");
    let sample = sample_in_full();
    let sections = [
        "[general]",
        "[log]",
        "[[listener]]",
        "[tls]",
        "[http]",
        "[media]",
        "[turn]",
        "[[media_server]]",
        "[ng]",
        "[[trunk]]",
        "[[hours]]",
        "[[group]]",
        "[[route]]",
        "[[permission]]",
        "[fraud]",
        "[[destination_limit]]",
        "[emergency]",
        "[[forwarding]]",
        "[[parking]]",
        "[numbers]",
        "[rtcengine]",
        "[console]",
        "[console.oidc]",
        "[admin]",
        "[recording]",
        "[sound]",
        "[stream]",
        "[grpc]",
        "[[grpc_token]]",
        "[stir]",
        "[ban]",
        "[acme]",
        "[cdr]",
        "[[webhook]]",
        "[timers]",
        "[drain]",
        "[limits]",
    ];
    for section in sections {
        let text = format!("{section}\nqqqqqqqqqqqq = 1");
        let error = parse(&text).unwrap_err();
        let unknown = error.problems.iter().find(|p| p.key.ends_with("qqqqqqqqqqqq")).unwrap();
        let known = unknown.remedy.split("known here: ").nth(1).unwrap();
        let (_, part) = document.split_once(&format!("## `{section}`")).expect(section);
        let part = part.split("\n## ").next().unwrap();
        let is_section = |key: &str| {
            let name = section.trim_matches(['[', ']']);
            sections.contains(&format!("[{name}.{key}]").as_str())
        };
        for key in known.split(", ").filter(|k| !k.ends_with("password") && !is_section(k)) {
            assert!(part.contains(&format!("| `{key}` |")), "docs: {section} {key}");
            // The sample shows this one as a comment beside the other way to give a password.
            let shown = sample.contains(&format!("\n{key} = ")) || key.ends_with("_env");
            assert!(shown, "sample: {section} {key}");
        }
    }
}

#[test]
fn a_provider_of_identities_is_named_exactly_and_gives_somebody_a_role() {
    let good = "issuer = \"https://id.example/realms/staff\"\nclient_id = \"crosspoint\"\n\
                client_secret_env = \"PATH\"\nroles = { viewer = [\"staff\"] }\n";
    let read = |text: &str| parse(&format!("[console.oidc]\n{text}"));
    let oidc = read(good).unwrap().console.oidc.unwrap();
    assert_eq!((oidc.claim.as_str(), oidc.label.as_str()), ("groups", "single sign-on"));
    let address = format!("{good}address = \"https://GW.example:443\"\n");
    let address = read(&address).unwrap().console.oidc.unwrap().address;
    assert_eq!(address.as_deref(), Some("https://gw.example"), "as browsers write it");
    for (before, after, key) in [
        ("https://id.example/realms/staff", "http://id.example", "console.oidc.issuer"),
        ("https://id.example/realms/staff", "https://id.example/?a=b", "console.oidc.issuer"),
        ("https://id.example/realms/staff", "https://me@id.example", "console.oidc.issuer"),
        ("[\"staff\"]", "[]", "console.oidc.roles"),
        ("viewer =", "owner =", "console.oidc.roles.owner"),
        ("client_secret_env = \"PATH\"", "", "console.oidc"),
        ("client_id = \"crosspoint\"", "", "console.oidc"),
        (
            "client_id",
            "address = \"https://gw.example/console\"\nclient_id",
            "console.oidc.address",
        ),
        ("client_id", "address = \"http://gw.example\"\nclient_id", "console.oidc.address"),
        ("client_id", "scopes = [\"a b\"]\nclient_id", "console.oidc.scopes[0]"),
        ("client_id", "label = \"\"\nclient_id", "console.oidc.label"),
        ("client_id", "client_secret = \"hush\"\nclient_id", "console.oidc.client_secret"),
    ] {
        let error = read(&good.replace(before, after)).unwrap_err();
        assert!(error.problems.iter().any(|problem| problem.key == key), "{after}: {error}");
    }
}

/// What an editor's accident or a bad disk makes of a good file is told, never a panic.
#[test]
fn damaged_files_are_refused_or_understood() {
    let sample = sample_in_full();
    let mut rng = Rng::from_u64(5);
    for _ in 0..3000 {
        let mut bytes = sample.clone().into_bytes();
        for _ in 0..=rng.below(4) {
            let at = rng.below(u32::try_from(bytes.len()).unwrap()) as usize;
            match rng.below(3) {
                0 => bytes[at] = rng.next_u32().to_le_bytes()[0],
                1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at + 1),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Err(error) = parse(&text) {
            let lines = text.lines().count() + 1;
            assert!(error.problems.iter().all(|p| (1..=lines).contains(&p.line)), "{error}");
        }
    }
}
