// The web phone: draws the page, and goes on where a reload interrupted.
import { render } from "preact";
import { Phone } from "./phone";
import { App } from "./views/app";
import { applyTheme } from "./views/setup";

const phone = new Phone();
applyTheme(phone.book.settings.theme);
render(<App phone={phone} />, document.getElementById("app")!);
void phone.restore();
