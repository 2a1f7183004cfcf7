//! A temporary certificate authority, made with the `openssl` command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of an authority, of a server on `localhost`, and of a client.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
}

impl Authority {
    /// # Panics
    /// If `openssl` is missing or fails.
    #[must_use]
    pub fn new(directory: &Path) -> Authority {
        fs::create_dir_all(directory).expect("a directory");
        let authority = Authority { directory: directory.to_owned() };
        authority.openssl(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hailer-test -keyout ca.key -out \
             ca.pem",
        );
        authority.sign(
            "server",
            "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n",
        );
        authority.sign("client", "extendedKeyUsage=clientAuth\n");
        authority
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The client's certificate and key.
    #[must_use]
    pub fn client_files(&self) -> (PathBuf, PathBuf) {
        (self.directory.join("client.pem"), self.directory.join("client.key"))
    }

    /// The configuration that makes a node listen with the server's certificate and demand a client
    /// certificate of this authority.
    #[must_use]
    pub fn server_config(&self, port: u16) -> String {
        let file = |name: &str| self.directory.join(name).display().to_string();
        format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = \
             {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\nssl_options.verify = \
             verify_peer\nssl_options.fail_if_no_peer_cert = true\n",
            file("ca.pem"),
            file("server.pem"),
            file("server.key")
        )
    }

    fn sign(&self, name: &str, extensions: &str) {
        fs::write(self.directory.join(format!("{name}.ext")), extensions).expect("a file");
        self.openssl(&format!(
            "req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -days 2 -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile \
             {name}.ext -out {name}.pem"
        ));
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(&self.directory)
            .output();
        let output = output.expect("the command `openssl`");
        assert!(
            output.status.success(),
            "openssl {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
