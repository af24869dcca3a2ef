// The operators' console: draws it, and finds out who is signed in.
import { render } from "preact";
import { Api } from "./api";
import { Console } from "./shell";
import { applyTheme, themeNow } from "./theme";

applyTheme(themeNow());
render(<Console api={new Api()} />, document.getElementById("app")!);
