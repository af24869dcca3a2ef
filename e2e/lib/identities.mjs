// A provider of identities: oidc-provider, which is certified for OpenID Connect, over HTTPS on a port of its own.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import Provider from "oidc-provider";

export const CLIENT = { id: "crosspoint", secret: "what the two of them know: a&b+c%" };

export class Identities {
  /** Takes a port; `pem` gives certificates (`certificates.mjs`), and `groups` those of each person by name. */
  static async start({ pem, groups }) {
    const identities = new Identities();
    identities.groups = groups;
    identities.server = createServer({ key: readFileSync(pem("ours.key")), cert: readFileSync(pem("ours.pem")) });
    await new Promise((resolve) => identities.server.listen(0, "127.0.0.1", resolve));
    // Another site than the gateway's, which is at 127.0.0.1: cookies are kept apart as they would be.
    identities.issuer = `https://localhost:${identities.server.address().port}`;
    return identities;
  }

  /** From now on it knows a gateway. */
  know(origin) {
    const provider = new Provider(this.issuer, {
      clients: [{
        client_id: CLIENT.id,
        client_secret: CLIENT.secret,
        redirect_uris: [`${origin}/api/v1/session/oidc/callback`],
        post_logout_redirect_uris: [`${origin}/console`],
      }],
      cookies: { keys: ["a key of this run"] },
      claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
      findAccount: (_, name) => ({
        accountId: name,
        claims: () => ({ sub: name, preferred_username: name, groups: this.groups[name] ?? [] }),
      }),
      pkce: { required: () => true },
    });
    this.server.on("request", provider.callback());
  }

  /** A person signs in at its page, and agrees to what the gateway is told. */
  async signIn(page, name) {
    await this.#enter(page, name);
    await page.getByRole("button", { name: "Continue" }).click();
  }

  /** The same up to the address where the provider sends the browser back to, which it does not go to. */
  async signInAlmost(page, name) {
    await this.#enter(page, name);
    await page.getByRole("button", { name: "Continue" }).waitFor();
    const form = await page.locator("form").getAttribute("action");
    const { request } = page.context();
    let answer = await request.post(form, { form: { prompt: "consent" }, maxRedirects: 0 });
    for (;;) {
      const next = new URL(answer.headers().location, form);
      if (next.origin !== this.issuer) return next.href;
      answer = await request.get(next.href, { maxRedirects: 0 });
    }
  }

  async #enter(page, name) {
    await page.getByPlaceholder("Enter any login").fill(name);
    await page.getByPlaceholder("and password").fill("anything");
    await page.getByRole("button", { name: "Sign-in" }).click();
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
