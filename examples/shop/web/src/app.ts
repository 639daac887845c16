import { money } from "./money";
import { Cart, Product, Shop } from "./shop";

const shop = new Shop(window.fetch.bind(window));
const byId = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

function item(title: string, detail: string, ...rest: Node[]): HTMLLIElement {
  const li = document.createElement("li");
  const text = document.createElement("span");
  const small = document.createElement("small");
  text.textContent = title;
  small.textContent = detail;
  text.append(small);
  li.append(text, ...rest);
  return li;
}

function showCart(cart: Cart): void {
  byId("cart").replaceChildren(...cart.lines.map((l) => item(`${l.quantity} × ${l.name}`, money(l.quantity * l.price))));
  byId("total").textContent = money(cart.total);
  byId<HTMLButtonElement>("empty").disabled = cart.lines.length === 0;
}

function showShelf(products: Product[]): void {
  byId("shelf").replaceChildren(
    ...products.map((p) => {
      const buy = document.createElement("button");
      buy.type = "button";
      buy.textContent = money(p.price);
      buy.setAttribute("aria-label", `Add ${p.name} to the cart for ${money(p.price)}`);
      buy.onclick = () => attempt(async () => showCart(await shop.add(p.id)));
      return item(p.name, p.description, buy);
    }),
  );
}

/** Runs an action and shows what went wrong, if anything did. */
async function attempt(action: () => Promise<void>): Promise<void> {
  try {
    await action();
    byId("problem").textContent = "";
  } catch (e) {
    byId("problem").textContent = e instanceof Error ? e.message : String(e);
  }
}

byId("empty").onclick = () => attempt(async () => showCart(await shop.empty()));
void attempt(async () => {
  showShelf(await shop.products());
  showCart(await shop.cart());
  byId("version").textContent = await shop.version();
});
